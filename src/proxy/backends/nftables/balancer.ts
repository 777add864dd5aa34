import { indexField } from '../../../kernel/nft/field.ts';
import type { NftElement } from '../../../kernel/nft/objects.ts';

// How a pool is balanced over. `pools` has for each pool a code for its size, and one chain serves pools of all sizes
// up to SMALL: it draws 0 to 63 and finds in `draws` what number that is for the code, if any; then it draws again.
// Larger pools have a chain for each power of two, which draws a number below it until one is taken. There are few
// rules on purpose: each that looks something up in a map makes adding an element to that map dearer for the kernel
// (nft_add_set_elem goes through all of them), and binding a new one walks all elements (nf_tables_bind_set).

/** One random draw has so many results. */
const DRAWS = 64;
const SMALL = DRAWS;
/** Pools up to this size are drawn from exactly; those up to SMALL as if they had SMALL endpoints. */
const EXACT = 32;
export const MAX_ENDPOINTS = 32_768;
/**
 * After so many draws for which there is no endpoint, half as many numbers are drawn from, which all have one. Thus the
 * last of 33 endpoints gets 1.3 % less than the others, of 40, 0.3 %; just above a power of two it is 1.6 % at most.
 */
const TRIES = 6;

/** Taken away from the code of pools up to SMALL leaves the code of pools of half as many endpoints. */
const ROUNDED_BIT = 0x40;
export const HALF_MASK = ~ROUNDED_BIT >>> 0;
const LARGE_CODE = 0x80;
const AFFINITY_UNIT = 0x100;
/** Of what stands in `pools`, the time for which clients stay. */
export const AFFINITY_MASK = ~(AFFINITY_UNIT - 1) >>> 0;
export const CODE_MASK = AFFINITY_UNIT - 1;
/** Clients of a service port stay for so long unless it says otherwise. */
const DEFAULT_AFFINITY_SECONDS = 10_800;

/** By which key a packet finds its service port, and which of its pools it gets. */
export const WAYS = ['lb', 'lb-all', 'nodeport', 'nodeport-all'] as const;
export type Way = (typeof WAYS)[number];

/** What a balancing chain is for. */
export interface Balancer {
  /** Power of two, which pools have at most so many endpoints as; 0: pools of up to 64. */
  readonly size: number;
  /** For how long clients stay; 0: not at all. */
  readonly affinitySeconds: number;
}

export function balancerFor(endpoints: number, affinitySeconds: number): Balancer {
  return { size: endpoints <= SMALL ? 0 : 2 ** Math.ceil(Math.log2(endpoints)), affinitySeconds };
}

/** What stands in `pools` for a pool of so many endpoints. */
export function poolField(endpoints: number, affinitySeconds: number): string {
  return indexField(codeOf(endpoints) + affinitySeconds * AFFINITY_UNIT);
}

function codeOf(endpoints: number): number {
  if (endpoints <= EXACT) return endpoints;
  if (endpoints <= SMALL) return EXACT | ROUNDED_BIT;
  return LARGE_CODE + Math.ceil(Math.log2(endpoints));
}

/** Of `draws`: code . draw : number. */
export function drawElements(): NftElement[] {
  const elements: NftElement[] = [];
  const add = (code: number, draw: number, number: number): void => {
    elements.push({ key: indexField(code) + indexField(draw), value: indexField(number) });
  };
  for (let code = 1; code <= EXACT; code += 1) {
    const even = DRAWS - (DRAWS % code);
    for (let draw = 0; draw < even; draw += 1) add(code, draw, draw % code);
  }
  for (let draw = 0; draw < DRAWS; draw += 1) add(EXACT | ROUNDED_BIT, draw, draw);
  return elements;
}

export function balancerChain(way: Way, { size, affinitySeconds }: Balancer): string {
  return `${way}${size === 0 ? '' : `-${size}`}${affinitySeconds === 0 ? '' : `-${affinitySeconds}s`}`;
}

export function parseBalancerChain(name: string): { way: Way; balancer: Balancer } | undefined {
  const found = /^(lb|lb-all|nodeport|nodeport-all)(?:-(\d+))?(?:-(\d+)s)?$/.exec(name);
  const way = WAYS.find((one) => one === found?.[1]);
  if (way === undefined) return undefined;
  return { way, balancer: { size: Number(found?.[2] ?? 0), affinitySeconds: Number(found?.[3] ?? 0) } };
}

/**
 * What leads to the chain, and where: pools that are large in @lb-large, clients that stay in @lb-sticky. Nothing leads
 * to chains for small pools without affinity but rules.
 */
export function balancerElement(
  way: Way,
  balancer: Balancer,
): { readonly by: 'large' | 'sticky'; readonly element: NftElement } | undefined {
  const { size, affinitySeconds } = balancer;
  const value = `goto ${balancerChain(way, balancer)}`;
  if (size > 0) return { by: 'large', element: { key: poolField(size, affinitySeconds), value } };
  if (affinitySeconds === 0) return undefined;
  return { by: 'sticky', element: { key: indexField(affinitySeconds * AFFINITY_UNIT), value } };
}

/** Those that are always there; others are made when they are first needed. */
export function standardBalancers(way: Way): Balancer[] {
  const small = { size: 0, affinitySeconds: 0 };
  return way === 'lb' ? [small, { size: 0, affinitySeconds: DEFAULT_AFFINITY_SECONDS }] : [small];
}

export function isStandard(way: Way, { size, affinitySeconds }: Balancer): boolean {
  return standardBalancers(way).some((one) => one.size === size && one.affinitySeconds === affinitySeconds);
}

/** One rule of a balancing chain after the other, until one finds an endpoint. */
export type Draw =
  /** By `draws`: for the pool's code, or for half as many endpoints. */
  | { readonly kind: 'table'; readonly results: number; readonly half: boolean }
  /** Below a number. */
  | { readonly kind: 'below'; readonly modulus: number }
  /** On to the chain for large pools. */
  | { readonly kind: 'larger' };

const table = (half: boolean): Draw => ({ kind: 'table', results: DRAWS, half });
const below = (modulus: number): Draw => ({ kind: 'below', modulus });
const again = (draw: Draw, times: number): Draw[] => Array.from({ length: times }, () => draw);

export function drawsOf({ size }: Balancer): Draw[] {
  // The last: a packet on its way here while the Service lost an endpoint may have drawn the one that went. The first
  // is there as long as there is any.
  if (size === 0) {
    return [table(false), { kind: 'larger' }, ...again(table(false), TRIES - 1), table(true), below(1)];
  }
  return [...again(below(size), TRIES), below(size / 2), below(1)];
}
