import { existsSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { RouteKernel } from '../netlink/route-kernel.ts';
import { NetlinkWireguard } from './netlink-wireguard.ts';
import type { WireguardKernel } from './objects.ts';
import { WireguardGo } from './wireguard-go.ts';

const TUN = '/dev/net/tun';

/**
 * The kernel's WireGuard where it has it, else wireguard-go. `route` and `netns` (a descriptor) are of one network
 * namespace; the process's own when `netns` is absent. Throws WIREGUARD_MISSING, which names what would provide it.
 */
export function openWireguard(route: RouteKernel, netns?: number): WireguardKernel {
  const kernel = NetlinkWireguard.open(route, netns);
  if (kernel !== undefined) return kernel;
  const program = WireguardGo.isPresent();
  if (program && existsSync(TUN))
    return new WireguardGo({ route, ...(netns === undefined ? {} : { netns }) });
  const instead = program ? `wireguard-go cannot serve without ${TUN}` : 'wireguard-go is not installed';
  throw new FlatnetError(`the kernel has no WireGuard (module wireguard), and ${instead}`, {
    code: 'WIREGUARD_MISSING',
    hint: 'load the module (modprobe wireguard; Linux 5.6 or later has it), or install the package wireguard-go and the module tun',
  });
}
