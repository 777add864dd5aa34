import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Link } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import { writeSysctl } from '../kernel/sysctl/sysctl.ts';
import type { Cidr } from '../net/cidr.ts';
import { Mac } from '../net/mac.ts';

export interface BridgeWish {
  readonly name: string;
  /** The node's pod CIDRs; the bridge is the gateway, at the first address of each. */
  readonly podCidrs: readonly Cidr[];
  readonly mtu: number;
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
  ensureAddresses(kernel, bridge.index, wish.podCidrs);
  return kernel.link(bridge.index) ?? bridge;
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

function ensureAddresses(kernel: RouteKernel, link: number, podCidrs: readonly Cidr[]): void {
  const wanted = podCidrs.map((cidr) => ({ ip: cidr.at(1), prefixLength: cidr.prefixLength }));
  const found = kernel.addresses({ link }).filter(({ scope }) => scope === 0);
  for (const { ip, prefixLength } of wanted) {
    const there = found.some((address) => address.ip.equals(ip) && address.prefixLength === prefixLength);
    if (!there)
      kernel.replaceAddress({ link, ip, prefixLength, ...(ip.family === 6 ? { noDad: true } : {}) });
  }
  // What is left of an earlier pod CIDR would go on attracting traffic.
  for (const { ip, prefixLength } of found) {
    if (!wanted.some((address) => address.ip.equals(ip) && address.prefixLength === prefixLength)) {
      kernel.deleteAddress({ link, ip, prefixLength });
    }
  }
}

/** `0a:58` and the IPv4 gateway (the custom of kubenet and OVN), else the last four bytes of the IPv6 one. */
function gatewayMac(podCidrs: readonly Cidr[]): Mac {
  const gateway = (podCidrs.find(({ family }) => family === 4) ?? podCidrs[0])?.at(1);
  return new Mac(Uint8Array.of(0x0a, 0x58, ...(gateway?.toBytes().slice(-4) ?? [0, 0, 0, 1])));
}
