import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Link, NewLink } from '../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../kernel/netlink/route-kernel.ts';

/** The alias that marks a device as ours; a device of the same name without it is adopted, never pruned. */
export const DEVICE_ALIAS = 'flatnet';

/** Throws ENODEV. */
export function indexOf(kernel: RouteKernel, device: string): number {
  const link = kernel.link(device);
  if (link !== undefined) return link.index;
  throw new FlatnetError(`there is no device ${device}`, { code: 'ENODEV', retryable: true });
}

/** Makes a device of ours and returns its index. Throws DEVICE_KIND_MISSING. */
export function addDevice(kernel: RouteKernel, link: NewLink): number {
  const made = addLink(kernel, link) ?? kernel.link(link.name);
  if (made === undefined) throw new FlatnetError(`there is no device ${link.name}`, { code: 'ENODEV' });
  // The kernel takes no alias while it makes a device.
  kernel.changeLink(made.index, { alias: DEVICE_ALIAS });
  return made.index;
}

function addLink(kernel: RouteKernel, link: NewLink): Link | undefined {
  try {
    return kernel.addLink(link);
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'EOPNOTSUPP') throw error;
    throw new FlatnetError(`device ${link.name}: this kernel has no devices of kind ${link.kind}`, {
      code: 'DEVICE_KIND_MISSING',
      hint: `load its module (modprobe ${link.kind}), or choose another network.Backend.Type`,
      cause: error,
    });
  }
}

/** Refuses a device of the name that somebody made for something else. Throws DEVICE_NAME_TAKEN. */
export function refuseOtherKind(existing: Link, kind: string, remedy: string): void {
  if (existing.kind === kind) return;
  throw new FlatnetError(
    `device ${existing.name} exists and is ${existing.kind === undefined ? 'a real one' : `of kind ${existing.kind}`}, not ${kind}`,
    { code: 'DEVICE_NAME_TAKEN', hint: `remove it (ip link delete ${existing.name})${remedy}` },
  );
}
