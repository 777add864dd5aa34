import type { IpipAttributes, Link } from '../../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import { addDevice, DEVICE_ALIAS, refuseOtherKind } from '../device.ts';
import type { IpipLinkEntry } from '../entry.ts';

/** Undefined for what is no IPIP device, or none as ours are. */
export function readIpipLink({ name, mtu, ipip }: Link): IpipLinkEntry | undefined {
  if (ipip?.local === undefined || ipip.remote !== undefined || ipip.parent !== undefined) return undefined;
  if (ipip.ttl !== 0 || ipip.pmtuDiscovery) return undefined;
  return { kind: 'link', type: 'ipip', device: name, mtu, local: ipip.local };
}

/** Makes the device, or changes the one that is there: all of an IPIP device can. Throws DEVICE_NAME_TAKEN. */
export function putIpipLink(kernel: RouteKernel, { device, mtu, local }: IpipLinkEntry): void {
  // As flannel has it: outer packets may be divided where the inner may be. With path MTU discovery of its own the
  // tunnel would lose those, and tell nobody; a time to live of its own switches that on (ipip_netlink_parms).
  const ipip: IpipAttributes = { local, ttl: 0, pmtuDiscovery: false };
  const existing = kernel.link(device);
  if (existing === undefined) {
    addDevice(kernel, { kind: 'ipip', name: device, mtu, up: true, ipip });
    return;
  }
  refuseOtherKind(existing, 'ipip', '');
  kernel.changeLink(existing.index, { ipip });
  // Afterwards: changing the tunnel may set its MTU.
  kernel.changeLink(existing.index, { mtu, alias: DEVICE_ALIAS, up: true });
}
