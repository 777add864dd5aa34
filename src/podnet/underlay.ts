import { createHash } from 'node:crypto';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Link } from '../kernel/netlink/objects.ts';
import { Cidr } from '../net/cidr.ts';
import type { IpFamily } from '../net/ip.ts';
import { Mac } from '../net/mac.ts';
import type { LocalFamily, LocalNode, Underlay } from './backends/backend.ts';
import type { NetworkConfig } from './network-config.ts';
import type { AddressChoice } from './node-address.ts';
import type { NodeFacts } from './node-facts.ts';

export interface LocalNodeWish {
  readonly name: string;
  readonly config: NetworkConfig;
  readonly podCidrs: ReadonlyMap<IpFamily, Cidr>;
  /** MACs that the node has published before. */
  readonly macs: ReadonlyMap<IpFamily, Mac>;
}

const SCOPE_GLOBAL = 0;

/** This node as the chosen interface connects it. Throws RANGES_OVERLAP. */
export function describeLocalNode(
  facts: NodeFacts,
  { link, ips }: Pick<AddressChoice, 'link' | 'ips'>,
  wish: LocalNodeWish,
): LocalNode {
  const families = new Map<IpFamily, LocalFamily>();
  for (const [family, podCidr] of wish.podCidrs) {
    const ip = ips.get(family);
    if (ip === undefined) continue;
    families.set(family, {
      podCidr,
      network: wish.config.networks.get(family) ?? podCidr,
      ip,
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
  const prefixes = facts.addresses
    .filter((address) => address.link === link.index && address.scope === SCOPE_GLOBAL)
    .map(({ ip, prefixLength }) => new Cidr(ip, prefixLength));
  // Clouds give a /32 and a route without gateway to the subnet.
  const direct = facts.routes
    .filter((route) => route.link === link.index && route.gateway === undefined && route.type === 'unicast')
    .map(({ destination }) => destination)
    .filter(({ prefixLength }) => prefixLength > 0);
  const onLink = new Map([...prefixes, ...direct].map((prefix) => [prefix.toString(), prefix]));
  const mtu = Math.min(config.backend.underlayMtu ?? Infinity, link.mtu);
  return { device: link.name, mtu, onLink: [...onLink.values()] };
}

/** What is wrong with the MTU that was asked for: it is not given then, as nothing larger leaves the interface. */
export function excessiveMtu({ backend }: NetworkConfig, link: Link): FlatnetError | undefined {
  const { underlayMtu: wanted } = backend;
  if (wanted === undefined || wanted <= link.mtu) return undefined;
  return new FlatnetError(
    `network.Backend.MTU ${wanted} is larger than the ${link.mtu} bytes of ${link.name}, which carries the cluster: ${link.mtu} are used`,
    {
      code: 'MTU_TOO_LARGE',
      hint: 'leave it out (it is then taken from the interface), or raise the MTU of the interface',
    },
  );
}

/** Always the same for a node, so that a device made anew, or a node that lost its annotations, keeps its MAC. */
function derivedMac(node: string, family: IpFamily): Mac {
  const bytes = createHash('sha256').update(`flatnet vtep ${family} ${node}`).digest().subarray(0, 6);
  // Locally administered, unicast (IEEE 802, bits of the first octet).
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return new Mac(bytes);
}
