import type { IpvsChange, IpvsKernel, VirtualServer } from '../../../kernel/ipvs/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { realServer } from './program.ts';
import { SERVICE_DEVICE } from './settings.ts';
import { isIdle } from './termination.ts';

/**
 * Takes virtual servers out whose connections have ended; the others stay with their addresses, without new
 * connections. True when none is left and kube-ipvs0 is gone, too.
 */
export function drain(
  ipvs: IpvsKernel | undefined,
  route: RouteKernel,
  isOurs: (server: VirtualServer) => boolean,
  limitReached: boolean,
): boolean {
  const kept = new Set<string>();
  for (const server of ipvs?.virtualServers().filter(isOurs) ?? []) {
    const alive = limitReached ? [] : (ipvs?.realServers(server).filter((real) => !isIdle(real)) ?? []);
    if (alive.length === 0) {
      ipvs?.apply([{ operation: 'delete-server', server }]);
      continue;
    }
    kept.add(server.address);
    const changes = alive
      .filter(({ weight }) => weight !== 0)
      .map((real): IpvsChange => ({
        operation: 'set-destination',
        server,
        destination: realServer(real, 0),
      }));
    const idle = ipvs?.realServers(server).filter(isIdle) ?? [];
    for (const destination of idle) changes.push({ operation: 'delete-destination', server, destination });
    ipvs?.apply(changes);
  }
  removeAddresses(route, kept);
  return kept.size === 0;
}

function removeAddresses(route: RouteKernel, kept: ReadonlySet<string>): void {
  const device = route.link(SERVICE_DEVICE)?.index;
  if (device === undefined) return;
  try {
    if (kept.size === 0) {
      route.deleteLink(device);
      return;
    }
    for (const { ip, prefixLength } of route.addresses({ link: device })) {
      if (!kept.has(ip.toString())) route.deleteAddress({ link: device, ip, prefixLength });
    }
  } catch (error) {
    // Somebody else was quicker.
    if (!(error instanceof FlatnetError) || !['ENODEV', 'EADDRNOTAVAIL'].includes(error.code)) throw error;
  }
}
