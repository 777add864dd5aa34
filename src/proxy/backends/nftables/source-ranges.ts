import type { NftExpression, NftRule } from '../../../kernel/nft/expression.ts';
import { addressField, FieldReader, indexField } from '../../../kernel/nft/field.ts';
import { Cidr } from '../../../net/cidr.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import type { ServicePort } from '../../services/service-port.ts';
import type { LookupRules } from './lookup-rule.ts';
import type { ProxySets } from './sets.ts';

// Who may use a load balancer's address: `source-ranges` has an element for each prefix, found by the number of the
// ranges, the prefix's length and its bits. A source is looked up once for each length there is. Sets of intervals
// would do with one lookup, but a change costs the kernel a copy of the whole set (nft_set_pipapo), or a walk.

const BITS = { 4: 32, 6: 128 } as const;
/** A rule has at most 128 expressions (NFT_RULE_MAXEXPRS) and 4 KiB in the kernel; a length takes three of these. */
const LENGTHS_PER_RULE = { 4: 36, 6: 20 } as const;
const FIREWALL_CHAIN = 'firewall-check';
const NUMBER_UNIT = 0x100;
const NUMBER_MASK = indexField(0xffffff00);

/** The network's bits of an address, as bytes. */
export function prefixMask(prefixLength: number, family: IpFamily): string {
  return Array.from({ length: BITS[family] / 8 }, (_, index) => {
    const ones = Math.min(8, Math.max(0, prefixLength - index * 8));
    return String.fromCharCode(0xff & (0xff << (8 - ones)));
  }).join('');
}

/** Data of `firewall-ips` for the ranges of a service port. */
export const rangesField = (number: number): string => indexField(number * NUMBER_UNIT);

/** The other way round. */
export function numberOfRanges(field: string | undefined): number | undefined {
  const number = field?.length === 4 ? Math.floor(new FieldReader(field).index() / NUMBER_UNIT) : 0;
  return number === 0 ? undefined : number;
}

/**
 * Keys of `source-ranges` for a service port. A load balancer's address that is also an address of the node makes the
 * node's own packets come from there: a node that a range admits is admitted under these addresses too (kube-proxy
 * does the same).
 */
export function rangeKeys(number: number, port: ServicePort, nodeIps: readonly Ip[]): string[] {
  const ranges = (port.sourceRanges ?? [])
    .map((range) => Cidr.tryParse(range))
    .filter((range) => range?.family === port.family) as Cidr[];
  const keys = new Set(ranges.map((range) => rangeKey(number, range.first.toString(), range.prefixLength)));
  if (nodeIps.some((ip) => ranges.some((range) => range.family === ip.family && range.contains(ip)))) {
    for (const address of port.loadBalancerIps) keys.add(rangeKey(number, address, BITS[port.family]));
  }
  return [...keys];
}

const rangeKey = (number: number, address: string, prefixLength: number): string =>
  indexField(number * NUMBER_UNIT + prefixLength) + addressField(address);

/** One chain after the other; the last drops what no prefix contains. */
export function firewallRules(
  rules: LookupRules,
  sets: ProxySets,
  family: IpFamily,
): { readonly chain: string; readonly rule: NftRule }[] {
  const lengths = Array.from({ length: BITS[family] + 1 }, (_, index) => BITS[family] - index);
  const size = LENGTHS_PER_RULE[family];
  const parts = Array.from({ length: Math.ceil(lengths.length / size) }, (_, index) =>
    lengths.slice(index * size, (index + 1) * size),
  );
  return parts.map((part, index) => ({
    chain: chainName(index),
    rule: [
      ...rules.sourceOfGuarded(),
      ...part.flatMap((length) => outsidePrefix(length, family, sets)),
      index === parts.length - 1 ? { statement: 'drop' } : { statement: 'goto', chain: chainName(index + 1) },
    ],
  }));
}

const chainName = (index: number): string => (index === 0 ? FIREWALL_CHAIN : `${FIREWALL_CHAIN}-${index}`);

/** `ranges & 0xffffff00 | length . ip saddr & mask != @source-ranges`. */
function outsidePrefix(length: number, family: IpFamily, sets: ProxySets): NftExpression[] {
  const mask = prefixMask(length, family);
  return [
    { load: 'bitwise', from: 0, register: 8, mask: NUMBER_MASK, xor: indexField(length) },
    { load: 'bitwise', from: 1, register: 9, mask, xor: '\0'.repeat(mask.length) },
    { match: 'set', set: sets.sourceRanges.name, key: 8, negated: true },
  ];
}
