import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Address, Link } from '../kernel/netlink/objects.ts';
import type { Cidr } from '../net/cidr.ts';
import { Ip, type IpFamily } from '../net/ip.ts';
import { interfacePattern } from './interface-pattern.ts';
import type { NodeFacts } from './node-facts.ts';

/** How an administrator wants the node's address to be found; all empty: by the Node object, else the default route. */
export interface AddressPreference {
  /** As flannel's --iface, in this order: names of interfaces, or addresses of theirs. */
  readonly iface: readonly string[];
  /** As flannel's --iface-regex, looked at after `iface`. */
  readonly ifaceRegex: readonly string[];
  /** As flannel's --iface-can-reach: the interface that packets to this address leave by. */
  readonly ifaceCanReach?: Ip | undefined;
  /** As Calico's `cidr=`: the interface with an address in one of these. */
  readonly ifaceCidr: readonly Cidr[];
  /** As Calico's `skip-interface=`: regular expressions; such interfaces are never taken, unless named in `iface`. */
  readonly skipInterface: readonly string[];
}

export const NO_PREFERENCE: AddressPreference = {
  iface: [],
  ifaceRegex: [],

  ifaceCidr: [],
  skipInterface: [],
};

export interface AddressWish {
  readonly node: string;
  /** Families that an address is needed of. */
  readonly families: readonly IpFamily[];
  readonly prefer: AddressPreference;
  /** status.addresses of type InternalIP. */
  readonly internalIps: readonly Ip[];
  /** Names of devices that are the pod network's own; those marked as ours and flannel's need not be listed. */
  readonly own: readonly string[];
}

export interface AddressChoice {
  readonly link: Link;
  readonly ips: ReadonlyMap<IpFamily, Ip>;
  /** For people: `iface-regex "^eth" matches the interface eth1`. */
  readonly reason: string;
}

/** An interface that one of the ways leads to, with the addresses that it speaks for. */
interface Candidate {
  readonly link: Link;
  readonly ips: readonly Ip[];
  readonly reason: string;
}

const SCOPE_GLOBAL = 0;
/** <linux/if_addr.h>: secondary (IPv4) or temporary (IPv6), duplicate, deprecated, tentative. */
const IFA_F_SECONDARY = 0x01;
const IFA_F_DADFAILED = 0x08;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;

/**
 * Finds the interface that carries the cluster, and this node's addresses on it. What was asked for is never replaced
 * by something else: when none of it is there, it throws UNDERLAY_NOT_FOUND, which lists what there is.
 * NODE_IP_NOT_FOUND where the interface lacks an address of a family.
 */
export function chooseNodeAddress(facts: NodeFacts, wish: AddressWish): AddressChoice {
  const candidate = isAsked(wish.prefer) ? asked(facts, wish) : byItself(facts, wish);
  const ips = new Map<IpFamily, Ip>();
  for (const family of wish.families) ips.set(family, chooseIp(facts, candidate, family, wish));
  return { link: candidate.link, ips, reason: candidate.reason };
}

const isAsked = ({ iface, ifaceRegex, ifaceCanReach, ifaceCidr }: AddressPreference): boolean =>
  iface.length + ifaceRegex.length + ifaceCidr.length > 0 || ifaceCanReach !== undefined;

function asked(facts: NodeFacts, wish: AddressWish): Candidate {
  const { iface, ifaceRegex, ifaceCanReach, ifaceCidr } = wish.prefer;
  const usable = usableLinks(facts, wish);
  const ways: (() => Candidate | undefined)[] = [
    ...iface.map((text) => () => byName(facts, text)),
    ...ifaceRegex.map((text) => () => byRegex(facts, usable, text, wish.families)),
    ...(ifaceCanReach === undefined ? [] : [() => byReach(facts, usable, ifaceCanReach)]),
    ...ifaceCidr.map((cidr) => () => byCidr(facts, usable, cidr)),
  ];
  for (const way of ways) {
    const found = way();
    if (found !== undefined) return found;
  }
  throw new FlatnetError(`node ${wish.node}: no interface is as asked for: ${describe(wish.prefer)}`, {
    code: 'UNDERLAY_NOT_FOUND',
    retryable: true,
    hint: `there are ${usable.map((link) => listing(facts, link)).join(', ') || 'none that could be taken'}`,
  });
}

function byItself(facts: NodeFacts, wish: AddressWish): Candidate {
  const usable = usableLinks(facts, wish);
  for (const ip of wish.internalIps) {
    const link = wish.families.includes(ip.family) ? holderOf(facts, usable, ip) : undefined;
    if (link !== undefined)
      return { link, ips: [ip], reason: `${link.name} has the Node's InternalIP ${ip.toString()}` };
  }
  const defaults = facts.routes
    .filter(({ destination, link }) => destination.prefixLength === 0 && link !== undefined)
    .sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0));
  for (const route of defaults) {
    const link = usable.find(({ index }) => index === route.link);
    if (link !== undefined) return { link, ips: [], reason: `the default route leaves by ${link.name}` };
  }
  const said = wish.internalIps.map(String).join(', ') || 'none';
  throw new FlatnetError(
    `node ${wish.node}: no interface has its InternalIP (${said}), and there is no default route`,
    { code: 'UNDERLAY_NOT_FOUND', retryable: true, hint: 'name the interface in the field iface' },
  );
}

function byName(facts: NodeFacts, text: string): Candidate | undefined {
  const ip = Ip.tryParse(text);
  // Asked for by name, even a device that would not be taken otherwise is.
  const named = ip === undefined ? facts.links.find(({ name }) => name === text) : undefined;
  if (named !== undefined) return { link: named, ips: [], reason: `iface names ${named.name}` };
  const holder = ip === undefined ? undefined : holderOf(facts, facts.links, ip);
  if (ip === undefined || holder === undefined) return undefined;
  return { link: holder, ips: [ip], reason: `iface names ${ip.toString()}, an address of ${holder.name}` };
}

/** As flannel: any interface whose addresses match comes before any whose name does. */
function byRegex(
  facts: NodeFacts,
  usable: readonly Link[],
  text: string,
  families: readonly IpFamily[],
): Candidate | undefined {
  const pattern = interfacePattern(text);
  for (const link of usable) {
    const ips = addressesOf(facts, link).filter(
      (ip) => families.includes(ip.family) && pattern.test(ip.toString()),
    );
    if (ips.length === 0) continue;
    const matched = ips.map(String).join(' and ');
    return { link, ips, reason: `iface-regex ${JSON.stringify(text)} matches ${matched} of ${link.name}` };
  }
  const link = usable.find(({ name }) => pattern.test(name));
  return link === undefined
    ? undefined
    : { link, ips: [], reason: `iface-regex ${JSON.stringify(text)} matches the interface ${link.name}` };
}

function byReach(facts: NodeFacts, usable: readonly Link[], ip: Ip): Candidate | undefined {
  const link = usable.find(({ index }) => index === facts.reach?.link);
  if (link === undefined) return undefined;
  const source = facts.reach?.source;
  const from = source === undefined ? '' : ` from ${source.toString()}`;
  return {
    link,
    ips: source === undefined ? [] : [source],
    reason: `the route to ${ip.toString()} (iface-can-reach) leaves by ${link.name}${from}`,
  };
}

function byCidr(facts: NodeFacts, usable: readonly Link[], cidr: Cidr): Candidate | undefined {
  for (const link of usable) {
    const ips = addressesOf(facts, link).filter((ip) => cidr.contains(ip));
    if (ips[0] === undefined) continue;
    return { link, ips, reason: `${ips[0].toString()} of ${link.name} is in ${cidr.toString()} (ifaceCidr)` };
  }
  return undefined;
}

function chooseIp(facts: NodeFacts, { link, ips }: Candidate, family: IpFamily, wish: AddressWish): Ip {
  const there = addressesOf(facts, link).filter((ip) => ip.family === family);
  const chosen =
    there.find((ip) => ips.some((spoken) => spoken.equals(ip))) ??
    there.find((ip) => wish.prefer.ifaceCidr.some((cidr) => cidr.contains(ip))) ??
    there.find((ip) => wish.internalIps.some((internal) => internal.equals(ip))) ??
    there[0];
  if (chosen !== undefined) return chosen;
  throw new FlatnetError(`node ${wish.node}: interface ${link.name} has no IPv${family} address`, {
    code: 'NODE_IP_NOT_FOUND',
    retryable: true,
    hint: `give it one, or name another interface in the field iface, or leave out network.EnableIPv${family}`,
  });
}

/** Without loopback, devices of the pod network itself (a pattern like "^10[.]" would match those) and skipped ones. */
function usableLinks(facts: NodeFacts, wish: AddressWish): Link[] {
  const skipped = wish.prefer.skipInterface.map(interfacePattern);
  return facts.links.filter(
    ({ name, alias, loopback }) =>
      !loopback &&
      alias !== 'flatnet' &&
      !name.startsWith('flannel') &&
      !wish.own.includes(name) &&
      !skipped.some((pattern) => pattern.test(name)),
  );
}

/** Global ones; those that could go or are not to be used for new flows come last. */
function addressesOf(facts: NodeFacts, { index }: Link): Ip[] {
  return facts.addresses
    .filter(({ link, scope }) => link === index && scope === SCOPE_GLOBAL)
    .sort((a, b) => weakness(a) - weakness(b))
    .map(({ ip }) => ip);
}

function weakness({ flags }: Address): number {
  if ((flags & (IFA_F_DADFAILED | IFA_F_TENTATIVE)) !== 0) return 3;
  if ((flags & IFA_F_DEPRECATED) !== 0) return 2;
  return (flags & IFA_F_SECONDARY) === 0 ? 0 : 1;
}

function holderOf(facts: NodeFacts, among: readonly Link[], wanted: Ip): Link | undefined {
  const address = facts.addresses.find(({ ip }) => ip.equals(wanted));
  return among.find(({ index, loopback }) => index === address?.link && !loopback);
}

function describe({ iface, ifaceRegex, ifaceCanReach, ifaceCidr }: AddressPreference): string {
  const parts: [string, readonly string[]][] = [
    ['iface', iface],
    ['iface-regex', ifaceRegex],
    ['iface-can-reach', ifaceCanReach === undefined ? [] : [ifaceCanReach.toString()]],
    ['ifaceCidr', ifaceCidr.map(String)],
  ];
  return parts
    .filter(([, values]) => values.length > 0)
    .map(([name, values]) => `${name} ${values.map((value) => JSON.stringify(value)).join(', ')}`)
    .join('; ');
}

const listing = (facts: NodeFacts, link: Link): string =>
  [link.name, ...addressesOf(facts, link).map(String)].join(' ');
