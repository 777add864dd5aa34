import { indexField } from '../../../kernel/nft/field.ts';

// Chains that balance. Their number is fixed, so that no number of endpoints needs a new one: as soon as a chain looks
// something up in a map, the kernel walks all elements of that map (nf_tables_bind_set), 40 ms with 100,000.
//
// Up to EXACT endpoints have a chain for each number, which draws among so many. More have the next power of two: that
// chain draws among so many, again when the number is not taken, which at most every other draw is; after TRIES it
// draws among half as many, which are all taken. So of 17 endpoints the last gets 1 % less than the others (fewer than
// TRIES draws all fail once in 90 times), of 24 and more the difference is below 0.1 %.

const EXACT = 16;
const TRIES = 6;
export const MAX_ENDPOINTS = 32_768;
/** Clients of a service port stay for so long unless it says otherwise: these chains are always there. */
const DEFAULT_AFFINITY_SECONDS = 10_800;

const SIZES: readonly number[] = [
  ...Array.from({ length: EXACT }, (_, index) => index + 1),
  ...Array.from({ length: Math.log2(MAX_ENDPOINTS / EXACT) }, (_, index) => EXACT * 2 ** (index + 1)),
];

/** By which key a packet finds its service port, and which of its pools it gets. */
export const WAYS = ['lb', 'lb-all', 'nodeport', 'nodeport-all'] as const;
export type Way = (typeof WAYS)[number];

export interface Balancer {
  /** Of the chain, not of the pool: the pool has at most so many endpoints, and more than the next smaller chain. */
  readonly size: number;
  /** For how long clients stay; 0: not at all. */
  readonly affinitySeconds: number;
}

export function balancerFor(endpoints: number, affinitySeconds: number): Balancer {
  return { size: SIZES.find((size) => size >= endpoints) ?? MAX_ENDPOINTS, affinitySeconds };
}

/** What stands in the data of a pool's element and leads to the chain. */
export function balancerField({ size, affinitySeconds }: Balancer): string {
  return indexField(SIZES.indexOf(size) + 1 + affinitySeconds * 0x100);
}

export function balancerChain(way: Way, { size, affinitySeconds }: Balancer): string {
  return `${way}-${size}${affinitySeconds === 0 ? '' : `-${affinitySeconds}s`}`;
}

export function parseBalancerChain(name: string): { way: Way; balancer: Balancer } | undefined {
  const found = /^(lb|lb-all|nodeport|nodeport-all)-(\d+)(?:-(\d+)s)?$/.exec(name);
  const way = WAYS.find((one) => one === found?.[1]);
  const size = Number(found?.[2]);
  if (way === undefined || !SIZES.includes(size)) return undefined;
  return { way, balancer: { size, affinitySeconds: Number(found?.[3] ?? 0) } };
}

/** Those that are always there. */
export function standardBalancers(): Balancer[] {
  return [0, DEFAULT_AFFINITY_SECONDS].flatMap((affinitySeconds) =>
    SIZES.map((size) => ({ size, affinitySeconds })),
  );
}

export const isStandard = ({ affinitySeconds }: Balancer): boolean =>
  affinitySeconds === 0 || affinitySeconds === DEFAULT_AFFINITY_SECONDS;

/** Among how many numbers the chain draws, one rule after the other until one is taken. */
export function drawsOf({ size }: Balancer): number[] {
  // The last: a packet on its way here while the Service lost an endpoint may have drawn the one that went. The first
  // is there as long as there is any.
  if (size <= EXACT) return size === 1 ? [1] : [size, 1];
  return [...Array.from({ length: TRIES }, () => size), size / 2, 1];
}
