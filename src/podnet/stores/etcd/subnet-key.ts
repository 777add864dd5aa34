import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';

/** A node's subnets, at most one of each family. */
export type Subnets = ReadonlyMap<IpFamily, Cidr>;

/** flannel's IPv4 subnet of a node that has none. */
const NO_IPV4 = '0.0.0.0-0';

export const configKey = (prefix: string): string => `${prefix}/config`;

/** All leases are below. */
export const leasePrefix = (prefix: string): string => `${prefix}/subnets/`;

/** Keys of Flatnet's own; flannel does not look there. */
export const ownPrefix = (prefix: string): string => `${prefix}/flatnet/`;

/** Stands for an IPv6 subnet while it is claimed: its name does not begin that of a lease. */
export const guardKey = (prefix: string, { ip, prefixLength }: Cidr): string =>
  `${ownPrefix(prefix)}claims/${ip.toString()}-${prefixLength}`;

/** A `NodeAbout`, beside the lease of the same name. */
export const aboutKey = (prefix: string, name: string): string => `${ownPrefix(prefix)}nodes/${name}`;

/** `10.5.52.0-24`, with two families `10.5.52.0-24&fc00:5:0:1::-64`, with IPv6 alone `0.0.0.0-0&fc00:5:0:1::-64`. */
export function subnetName(subnets: Subnets): string {
  const [v4, v6] = [subnets.get(4), subnets.get(6)].map((subnet) =>
    subnet === undefined ? undefined : `${subnet.ip.toString()}-${subnet.prefixLength}`,
  );
  return v6 === undefined ? (v4 ?? NO_IPV4) : `${v4 ?? NO_IPV4}&${v6}`;
}

/** What a lease's name says; undefined for what is no subnet. */
export function parseSubnetName(name: string): Subnets | undefined {
  const match = /^(\d+\.\d+\.\d+\.\d+-\d{1,2})(?:&([\da-f:.]+-\d{1,3}))?$/.exec(name);
  if (match?.[1] === undefined) return undefined;
  const subnets = new Map<IpFamily, Cidr>();
  for (const [family, text] of [
    [4, match[1]],
    [6, match[2]],
  ] as const) {
    if (text === undefined || text === NO_IPV4) continue;
    const subnet = parseSubnet(text);
    if (subnet?.family !== family) return undefined;
    subnets.set(family, subnet);
  }
  return subnets.size === 0 ? undefined : subnets;
}

/**
 * The range of names that claim the same IPv4 subnet, whatever IPv6 subnet beside it: [`from`, `to`). A name ends
 * behind the prefix length, or goes on with `&`, after which `'` follows in ASCII.
 */
export function sameSubnetNames(v4: Cidr): { from: string; to: string } {
  const from = `${v4.ip.toString()}-${v4.prefixLength}`;
  return { from, to: `${from}'` };
}

function parseSubnet(text: string): Cidr | undefined {
  const dash = text.lastIndexOf('-');
  const ip = Ip.tryParse(text.slice(0, dash));
  if (ip === undefined) return undefined;
  const subnet = Cidr.tryParse(`${text.slice(0, dash)}/${text.slice(dash + 1)}`);
  // Bits behind the prefix: no subnet that flannel could have made.
  return subnet?.ip.equals(ip) === true ? subnet : undefined;
}
