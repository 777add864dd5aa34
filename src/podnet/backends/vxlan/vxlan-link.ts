import type { Link } from '../../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import { addDevice, DEVICE_ALIAS, indexOf, refuseOtherKind } from '../device.ts';
import type { VxlanLinkEntry } from '../entry.ts';

/** Undefined for what is no VXLAN device, or none as ours are. */
export function readVxlanLink(
  kernel: RouteKernel,
  link: Link,
  names: ReadonlyMap<number, string>,
): VxlanLinkEntry | undefined {
  if (link.vxlan === undefined || link.mac === undefined) return undefined;
  const { vni, port, local, parent, learning, gbp } = link.vxlan;
  if (local === undefined || parent === undefined) return undefined;
  return {
    kind: 'link',
    type: 'vxlan',
    device: link.name,
    vni,
    port,
    local,
    underlay: names.get(parent) ?? `#${parent}`,
    mtu: link.mtu,
    mac: link.mac,
    learning,
    gbp,
    checksumOffload: kernel.txChecksumOffload(link.index),
  };
}

/** Changes the device as far as a living one can be changed, else makes it (anew). Throws DEVICE_NAME_TAKEN. */
export function putVxlanLink(kernel: RouteKernel, entry: VxlanLinkEntry): void {
  const existing = kernel.link(entry.device);
  if (existing !== undefined && isCompatible(kernel, existing, entry)) {
    kernel.changeLink(existing.index, { mtu: entry.mtu, alias: DEVICE_ALIAS, up: true });
    if (existing.mac?.equals(entry.mac) !== true) kernel.changeLink(existing.index, { mac: entry.mac });
    setOffload(kernel, existing.index, entry);
    return;
  }
  if (existing !== undefined) {
    refuseOtherKind(existing, 'vxlan', ' or choose another network.Backend.VNI');
    kernel.deleteLink(existing.index);
  }
  const { vni, port, local, learning, gbp, mac, mtu } = entry;
  const parent = indexOf(kernel, entry.underlay);
  const vxlan = { vni, port, local, parent, learning, gbp };
  const index = addDevice(kernel, { kind: 'vxlan', name: entry.device, mac, mtu, up: true, vxlan });
  setOffload(kernel, index, entry);
}

function setOffload(kernel: RouteKernel, index: number, { checksumOffload }: VxlanLinkEntry): void {
  if (kernel.txChecksumOffload(index) !== checksumOffload)
    kernel.setTxChecksumOffload(index, checksumOffload);
}

/** Whether what cannot be changed on a living VXLAN device is right already. */
function isCompatible(kernel: RouteKernel, { vxlan }: Link, entry: VxlanLinkEntry): boolean {
  return (
    vxlan !== undefined &&
    vxlan.vni === entry.vni &&
    vxlan.port === entry.port &&
    vxlan.local?.equals(entry.local) === true &&
    vxlan.parent === kernel.link(entry.underlay)?.index &&
    vxlan.learning === entry.learning &&
    vxlan.gbp === entry.gbp
  );
}
