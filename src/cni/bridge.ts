import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Link } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import { writeSysctl } from '../kernel/sysctl/sysctl.ts';
import type { Cidr } from '../net/cidr.ts';
import type { Ip } from '../net/ip.ts';
import { Mac } from '../net/mac.ts';
import type { ContainerAddress } from './protocol/result.ts';

export interface BridgeWish {
  readonly name: string;
  /** The node's pod CIDRs; the bridge is the gateway, at the first address of each. */
  readonly podCidrs: readonly Cidr[];
  readonly mtu: number;
  /** Of pods whose configuration gives them addresses of other ranges; they stay on the bridge. */
  readonly gateways?: readonly GatewayAddress[];
}

export interface GatewayAddress {
  readonly ip: Ip;
  readonly prefixLength: number;
}

/** Makes or adopts the bridge, and leaves it up with the gateways' addresses and no others. Returns it. */
export function ensureBridge(kernel: RouteKernel, wish: BridgeWish): Link {
  const bridge = kernel.link(wish.name) ?? makeBridge(kernel, wish);
  if (bridge.kind !== 'bridge') {
    throw new FlatnetError(`device ${wish.name} exists and is not a bridge`, {
      code: 'DEVICE_NAME_TAKEN',
      hint: 'choose another name in cni.bridge, or remove the device',
    });
  }
  const mac = gatewayMac(wish.podCidrs);
  if (bridge.mtu !== wish.mtu) kernel.changeLink(bridge.index, { mtu: wish.mtu });
  if (bridge.mac?.equals(mac) !== true) kernel.changeLink(bridge.index, { mac });
  configure(wish);
  if (!bridge.up) kernel.changeLink(bridge.index, { up: true });
  ensureAddresses(kernel, bridge.index, wish);
  return kernel.link(bridge.index) ?? bridge;
}

/** The gateways that pods with these addresses need on the bridge. */
export function gatewaysOf(addresses: readonly ContainerAddress[]): GatewayAddress[] {
  return addresses.flatMap(({ gateway, prefixLength }) =>
    gateway === undefined ? [] : [{ ip: gateway, prefixLength }],
  );
}

/** Gives the bridge gateways that it lacks; one that is not there is somebody else's to tell. */
export function ensureGateways(
  kernel: RouteKernel,
  bridge: string,
  addresses: readonly ContainerAddress[],
): void {
  const link = kernel.link(bridge)?.index;
  if (link !== undefined) addMissing(kernel, link, gatewaysOf(addresses), kernel.addresses({ link }));
}

/** The node forwards for its pods. Writes only what is not so already: the settings are the whole node's. */
export function enableForwarding(families: Iterable<4 | 6>): void {
  for (const family of families) {
    if (family === 4) {
      writeSysctl('net/ipv4/ip_forward', 1);
      // Pods of one node reach each other by way of the bridge's own address; telling them of a shorter way would
      // lead replies of Services past the address translation. "all" counts for every interface, so it has to be off.
      writeSysctl('net/ipv4/conf/all/send_redirects', 0);
    } else writeSysctl('net/ipv6/conf/all/forwarding', 1);
  }
}

function makeBridge(kernel: RouteKernel, wish: BridgeWish): Link {
  // Its MAC is set from the start: without, the bridge takes that of its first port and changes it with the ports.
  const mac = gatewayMac(wish.podCidrs);
  const bridge = kernel.addLink({
    kind: 'bridge',
    name: wish.name,
    mtu: wish.mtu,
    mac,
    bridge: { stp: false },
  });
  if (bridge === undefined)
    throw new FlatnetError(`bridge ${wish.name} vanished`, { code: 'ENODEV', retryable: true });
  return bridge;
}

function configure({ name, podCidrs }: BridgeWish): void {
  for (const { family } of podCidrs) {
    if (family === 4) writeSysctl(`net/ipv4/conf/${name}/send_redirects`, 0);
    else {
      // Pods must not be able to give the node addresses or a default route.
      writeSysctl(`net/ipv6/conf/${name}/accept_ra`, 0);
      writeSysctl(`net/ipv6/conf/${name}/accept_dad`, 0);
    }
  }
}

function ensureAddresses(kernel: RouteKernel, link: number, { podCidrs, gateways = [] }: BridgeWish): void {
  const wanted = [
    ...podCidrs.map((cidr) => ({ ip: cidr.at(1), prefixLength: cidr.prefixLength })),
    ...gateways,
  ];
  const found = kernel.addresses({ link }).filter(({ scope }) => scope === 0);
  addMissing(kernel, link, wanted, found);
  // What is left of an earlier pod CIDR would go on attracting traffic.
  for (const address of found) {
    if (!wanted.some((each) => same(each, address))) kernel.deleteAddress({ ...address, link });
  }
}

function addMissing(
  kernel: RouteKernel,
  link: number,
  wanted: readonly GatewayAddress[],
  found: readonly GatewayAddress[],
): void {
  for (const { ip, prefixLength } of wanted) {
    if (found.some((address) => same(address, { ip, prefixLength }))) continue;
    kernel.replaceAddress({ link, ip, prefixLength, ...(ip.family === 6 ? { noDad: true } : {}) });
  }
}

const same = (a: GatewayAddress, b: GatewayAddress): boolean =>
  a.ip.equals(b.ip) && a.prefixLength === b.prefixLength;

/** `0a:58` and the IPv4 gateway (the custom of kubenet and OVN), else the last four bytes of the IPv6 one. */
function gatewayMac(podCidrs: readonly Cidr[]): Mac {
  const gateway = (podCidrs.find(({ family }) => family === 4) ?? podCidrs[0])?.at(1);
  return new Mac(Uint8Array.of(0x0a, 0x58, ...(gateway?.toBytes().slice(-4) ?? [0, 0, 0, 1])));
}
