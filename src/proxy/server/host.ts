import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import type { Ip } from '../../net/ip.ts';
import type { HostFacts } from '../config/plan.ts';

/** Holds the addresses of Services in ipvs mode: they are not the node's own. */
const IPVS_DEVICE = 'kube-ipvs0';

/** The machine's families and addresses, as the process's own network namespace has them now. */
export function readHost(): HostFacts {
  const kernel = LinuxRouteKernel.open();
  try {
    const ipvs = kernel.link(IPVS_DEVICE)?.index;
    const addresses = kernel
      .addresses()
      .filter((address) => address.link !== ipvs)
      .map((address) => address.ip);
    // Absent with the kernel's ipv6.disable=1.
    return { families: existsSync('/proc/net/if_inet6') ? [4, 6] : [4], addresses };
  } finally {
    kernel.close();
  }
}

/** Calls back when the addresses of the machine have changed, until the signal is aborted. */
export function watchAddresses(changed: (addresses: readonly Ip[]) => void, signal: AbortSignal): void {
  const kernel = LinuxRouteKernel.open();
  signal.addEventListener('abort', () => kernel.close(), { once: true });
  kernel.watch({ groups: ['address'], signal, onEvent: () => changed(readHost().addresses) });
}

/** How readily the kernel ends this process when memory is short (proc_pid_oom_score_adj(5)); -1000 to 1000. */
export async function setOomScoreAdj(value: number): Promise<void> {
  await writeFile('/proc/self/oom_score_adj', String(value));
}
