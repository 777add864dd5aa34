import { indexField } from '../../../kernel/nft/field.ts';

// What `service-ips` says of an address: the number of the service port, eight times, plus its kind.

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

const LOCAL_BIT = 1;
/** Tells external addresses from ClusterIPs: of no matter for the pool that an address leads to. */
const EXTERNAL_BIT = 2;
/** Clients stay with their endpoints. */
export const STICKY_BIT = 4;
export const NUMBER_UNIT = 8;

/** `code & KIND_MASK`: kind and stickiness. */
export const KIND_MASK = NUMBER_UNIT - 1;
/** `code & POOL_MASK`: the pool that the address leads to; pools of the policy Local are odd. */
export const POOL_MASK = ~EXTERNAL_BIT >>> 0;
/** `code & SHORT_CIRCUIT_MASK`: the pool for those whom the policy Local of external addresses does not concern. */
export const SHORT_CIRCUIT_MASK = ~(EXTERNAL_BIT | LOCAL_BIT) >>> 0;

const MAX_NUMBER = 0xffffff;

export function serviceCode(number: number, kind: Kind, sticky: boolean): string {
  return indexField(number * NUMBER_UNIT + (sticky ? STICKY_BIT : 0) + kind);
}

export function poolOf(number: number, local: boolean, sticky: boolean): string {
  return indexField(number * NUMBER_UNIT + (sticky ? STICKY_BIT : 0) + (local ? LOCAL_BIT : 0));
}

/** The number in a service code; undefined when it is none of ours. */
export function numberOfCode(code: string | undefined): number | undefined {
  if (code?.length !== 4) return undefined;
  const [a = 0, b = 0, c = 0, d = 0] = Array.from(code, (byte) => byte.charCodeAt(0));
  const number = Math.floor((a + b * 0x100 + c * 0x10000 + d * 0x1000000) / NUMBER_UNIT);
  return number === 0 || number > MAX_NUMBER ? undefined : number;
}

export const isStickyCode = (code: string): boolean => (code.charCodeAt(0) & STICKY_BIT) !== 0;
