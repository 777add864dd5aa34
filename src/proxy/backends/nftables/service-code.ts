import { indexField } from '../../../kernel/nft/field.ts';

// What `service-ips` says of an address: the number of the service port, four times, plus its kind.

/** What an address is for its service port; the lowest two bits of a service code. */
export const KIND = {
  /** ClusterIP under the policy Cluster. */
  cluster: 0,
  /** ClusterIP under the policy Local. */
  clusterLocal: 1,
  /** Node port, external or load balancer address under the policy Cluster. */
  external: 2,
  externalLocal: 3,
} as const;

export type Kind = (typeof KIND)[keyof typeof KIND];

/** The bit that tells external addresses from ClusterIPs: of no matter for the pool that an address leads to. */
const EXTERNAL_BIT = 2;

/** `code & KIND_MASK`. */
export const KIND_MASK = 3;
/** `code & POOL_MASK`: the pool that the address leads to; pools of the policy Local are odd. */
export const POOL_MASK = ~EXTERNAL_BIT >>> 0;
/** `code & SHORT_CIRCUIT_MASK`: the pool for those whom the policy Local of external addresses does not concern. */
export const SHORT_CIRCUIT_MASK = ~KIND_MASK >>> 0;

const MAX_NUMBER = 0xffffff;

export const serviceCode = (number: number, kind: Kind): string => indexField(number * 4 + kind);

export const poolOf = (number: number, local: boolean): number => number * 4 + (local ? 1 : 0);

/** The number in a service code; undefined when it is none of ours. */
export function numberOfCode(code: string | undefined): number | undefined {
  if (code?.length !== 4) return undefined;
  const [a = 0, b = 0, c = 0, d = 0] = Array.from(code, (byte) => byte.charCodeAt(0));
  const number = Math.floor((a + b * 0x100 + c * 0x10000 + d * 0x1000000) / 4);
  return number === 0 || number > MAX_NUMBER ? undefined : number;
}
