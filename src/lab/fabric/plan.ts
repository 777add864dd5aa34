import { Cidr } from '../../net/cidr.ts';
import type { Ip } from '../../net/ip.ts';
import { OUTSIDE } from '../state/lab-name.ts';
import { UNDERLAY, UNDERLAY_V6 } from '../state/lab-options.ts';

/** An address with the prefix of its subnet, as it stands on a link. */
export interface Placed {
  readonly ip: Ip;
  readonly subnet: Cidr;
}

interface SubnetPlan {
  /** Device of the fabric: a bridge. */
  readonly bridge: string;
  /** The fabric's own addresses there: the gateway of the subnet. */
  readonly gateways: readonly Placed[];
}

export interface AttachmentPlan {
  /** Node name, or `outside`. */
  readonly name: string;
  readonly bridge: string;
  /** The fabric's end of the veth pair. */
  readonly port: string;
  readonly addresses: readonly Placed[];
  readonly gateways: readonly Ip[];
}

export interface FabricPlan {
  readonly mtu: number;
  readonly subnets: readonly SubnetPlan[];
  readonly attachments: readonly AttachmentPlan[];
  /** Where the API server listens for nodes and pods: the fabric's address on the first subnet. */
  readonly apiAddresses: readonly Ip[];
}

export interface FabricOptions {
  readonly nodes: number;
  readonly subnets: number;
  readonly mtu: number;
  readonly ipv6: boolean;
}

const OUTSIDE_SUBNET = 255;
const FIRST_NODE = 10;

function nodeNames(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `node-${index + 1}`);
}

/** Who stands where: node k on subnet k modulo their number, addresses from .10 on; the gateway has .1. */
export function planFabric(options: FabricOptions): FabricPlan {
  const subnets = Array.from({ length: options.subnets }, (_, index) => subnetPlan(index, options.ipv6));
  const outside = subnetPlan(OUTSIDE_SUBNET, options.ipv6);
  const attachments = nodeNames(options.nodes).map((name, index) => {
    const subnet = subnets[index % options.subnets] ?? outside;
    return attach(name, `n${index + 1}`, subnet, FIRST_NODE + Math.floor(index / options.subnets));
  });
  attachments.push(attach(OUTSIDE, 'out', outside, 2));
  return {
    mtu: options.mtu,
    subnets: [...subnets, outside],
    attachments,
    apiAddresses: (subnets[0] ?? outside).gateways.map(({ ip }) => ip),
  };
}

function subnetPlan(index: number, ipv6: boolean): SubnetPlan {
  const cidrs = [new Cidr(Cidr.parse(UNDERLAY).at(index * 256), 24)];
  if (ipv6) cidrs.push(new Cidr(Cidr.parse(UNDERLAY_V6).at(BigInt(index) << 64n), 64));
  return {
    bridge: index === OUTSIDE_SUBNET ? 'br-outside' : `br${index}`,
    gateways: cidrs.map((subnet) => ({ ip: subnet.at(1), subnet })),
  };
}

function attach(name: string, port: string, subnet: SubnetPlan, host: number): AttachmentPlan {
  return {
    name,
    bridge: subnet.bridge,
    port,
    addresses: subnet.gateways.map((gateway) => ({ ip: gateway.subnet.at(host), subnet: gateway.subnet })),
    gateways: subnet.gateways.map(({ ip }) => ip),
  };
}
