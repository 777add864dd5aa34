import { createHash } from 'node:crypto';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Address, Link, Route } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip, type IpFamily } from '../net/ip.ts';
import { Mac } from '../net/mac.ts';
import type { LocalFamily, LocalNode, Underlay } from './backends/backend.ts';
import type { NetworkConfig } from './network-config.ts';

/** What a node's kernel says that the choice of the underlay depends on. */
export interface NodeFacts {
  readonly links: readonly Link[];
  readonly addresses: readonly Address[];
  readonly routes: readonly Route[];
}

export function readNodeFacts(kernel: RouteKernel): NodeFacts {
  return { links: kernel.links(), addresses: kernel.addresses(), routes: kernel.routes({ table: 254 }) };
}

export interface LocalNodeWish {
  readonly name: string;
  readonly config: NetworkConfig;
  readonly podCidrs: ReadonlyMap<IpFamily, Cidr>;
  /** status.addresses of type InternalIP. */
  readonly internalIps: readonly Ip[];
  /** As flannel's --iface: name of an interface, or an address of it. */
  readonly iface: string | undefined;
  /** MACs that the node has published before. */
  readonly macs: ReadonlyMap<IpFamily, Mac>;
}

const SCOPE_GLOBAL = 0;

/**
 * Finds the interface that carries the cluster: the one that is named, else the one with the node's InternalIP, else
 * the one of the default route. Throws UNDERLAY_NOT_FOUND, NODE_IP_NOT_FOUND, MTU_TOO_LARGE, RANGES_OVERLAP.
 */
export function describeLocalNode(facts: NodeFacts, wish: LocalNodeWish): LocalNode {
  const link = chooseLink(facts, wish);
  const families = new Map<IpFamily, LocalFamily>();
  for (const [family, podCidr] of wish.podCidrs) {
    families.set(family, {
      podCidr,
      network: wish.config.networks.get(family) ?? podCidr,
      ip: chooseIp(facts, link, family, wish),
      vtepMac: wish.macs.get(family) ?? derivedMac(wish.name, family),
    });
  }
  const underlay = describeUnderlay(facts, link, wish.config);
  refuseOverlap(wish, underlay);
  return { name: wish.name, underlay, families };
}

function refuseOverlap({ name, podCidrs }: LocalNodeWish, { device, onLink }: Underlay): void {
  for (const podCidr of podCidrs.values()) {
    const met = onLink.find((prefix) => prefix.overlaps(podCidr));
    if (met === undefined) continue;
    throw new FlatnetError(
      `node ${name}: pod CIDR ${podCidr.toString()} overlaps ${met.toString()}, which ${device} is connected to`,
      { code: 'RANGES_OVERLAP', hint: 'choose a range for pods that the network below does not use' },
    );
  }
}

function describeUnderlay(facts: NodeFacts, link: Link, config: NetworkConfig): Underlay {
  const wanted = config.backend.underlayMtu;
  if (wanted !== undefined && wanted > link.mtu) {
    throw new FlatnetError(
      `network.Backend.MTU ${wanted} is larger than the ${link.mtu} bytes of ${link.name}, which carries the cluster`,
      { code: 'MTU_TOO_LARGE', hint: 'leave it out: it is then taken from the interface' },
    );
  }
  const prefixes = facts.addresses
    .filter((address) => address.link === link.index && address.scope === SCOPE_GLOBAL)
    .map(({ ip, prefixLength }) => new Cidr(ip, prefixLength));
  // Clouds give a /32 and a route without gateway to the subnet.
  const direct = facts.routes
    .filter((route) => route.link === link.index && route.gateway === undefined && route.type === 'unicast')
    .map(({ destination }) => destination)
    .filter(({ prefixLength }) => prefixLength > 0);
  const onLink = new Map([...prefixes, ...direct].map((prefix) => [prefix.toString(), prefix]));
  return { device: link.name, mtu: wanted ?? link.mtu, onLink: [...onLink.values()] };
}

function chooseLink(facts: NodeFacts, wish: LocalNodeWish): Link {
  if (wish.iface !== undefined) {
    const ip = Ip.tryParse(wish.iface);
    const named =
      ip === undefined ? facts.links.find(({ name }) => name === wish.iface) : holderOf(facts, ip);
    if (named !== undefined) return named;
    throw new FlatnetError(`iface ${JSON.stringify(wish.iface)}: no interface has this name or address`, {
      code: 'UNDERLAY_NOT_FOUND',
      hint: `there are ${facts.links.map(({ name }) => name).join(', ')}`,
    });
  }
  for (const ip of wish.internalIps) {
    const holder = wish.podCidrs.has(ip.family) ? holderOf(facts, ip) : undefined;
    if (holder !== undefined) return holder;
  }
  const byRoute = defaultRouteLink(facts);
  if (byRoute !== undefined) return byRoute;
  const said = wish.internalIps.map(String).join(', ') || 'none';
  throw new FlatnetError(
    `node ${wish.name}: no interface has its InternalIP (${said}), and there is no default route`,
    { code: 'UNDERLAY_NOT_FOUND', retryable: true, hint: 'name the interface in the field iface' },
  );
}

function defaultRouteLink(facts: NodeFacts): Link | undefined {
  const defaults = facts.routes.filter(
    ({ destination, link }) => destination.prefixLength === 0 && link !== undefined,
  );
  const best = defaults.sort((a, b) => (a.metric ?? 0) - (b.metric ?? 0))[0];
  return facts.links.find(({ index }) => index === best?.link);
}

function chooseIp(facts: NodeFacts, link: Link, family: IpFamily, wish: LocalNodeWish): Ip {
  const candidates = facts.addresses
    .filter(
      (address) =>
        address.link === link.index && address.scope === SCOPE_GLOBAL && address.ip.family === family,
    )
    .map(({ ip }) => ip);
  const asked = wish.iface === undefined ? undefined : Ip.tryParse(wish.iface);
  const chosen =
    candidates.find((ip) => asked?.equals(ip)) ??
    candidates.find((ip) => wish.internalIps.some((internal) => internal.equals(ip))) ??
    candidates[0];
  if (chosen !== undefined) return chosen;
  throw new FlatnetError(`node ${wish.name}: interface ${link.name} has no IPv${family} address`, {
    code: 'NODE_IP_NOT_FOUND',
    retryable: true,
    hint: `give it one, or name another interface in the field iface, or leave out network.EnableIPv${family}`,
  });
}

function holderOf(facts: NodeFacts, wanted: Ip): Link | undefined {
  const address = facts.addresses.find(({ ip }) => ip.equals(wanted));
  return facts.links.find(({ index, loopback }) => index === address?.link && !loopback);
}

/** Always the same for a node, so that a device made anew, or a node that lost its annotations, keeps its MAC. */
function derivedMac(node: string, family: IpFamily): Mac {
  const bytes = createHash('sha256').update(`flatnet vtep ${family} ${node}`).digest().subarray(0, 6);
  // Locally administered, unicast (IEEE 802, bits of the first octet).
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return new Mac(bytes);
}
