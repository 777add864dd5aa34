import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Ip } from '../net/ip.ts';

/** IPVS mode keeps all service addresses on it: they are not the node's own. */
const SERVICE_DEVICE = 'kube-ipvs0';
/** Addresses come and go in groups. */
const SETTLE_MS = 100;

/** The node's own addresses, loopback included, in a settled order. */
export function nodeAddresses(kernel: Pick<RouteKernel, 'addresses' | 'link'>): Ip[] {
  const services = kernel.link(SERVICE_DEVICE)?.index;
  const own = kernel.addresses().filter(({ link, tentative }) => link !== services && !tentative);
  const unique = new Map(own.map(({ ip }) => [ip.toString(), ip]));
  return [...unique].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, ip]) => ip);
}

/** Calls back when the node's addresses are others; `changed` is called at most every tenth of a second. */
export function watchNodeAddresses(kernel: RouteKernel, changed: () => void, signal: AbortSignal): void {
  let settling: NodeJS.Timeout | undefined;
  let known = String(nodeAddresses(kernel));
  kernel.watch({
    groups: ['address'],
    signal,
    onEvent: () => {
      settling ??= setTimeout(() => {
        settling = undefined;
        const now = signal.aborted ? known : String(nodeAddresses(kernel));
        if (now === known) return;
        known = now;
        changed();
      }, SETTLE_MS).unref();
    },
  });
  signal.addEventListener('abort', () => clearTimeout(settling), { once: true });
}
