import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { IpsetKernel } from '../../../kernel/ipset/objects.ts';
import type { IpvsKernel, Scheduler, VirtualServer } from '../../../kernel/ipvs/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { IpvsModeKernels } from './kernels.ts';
import type { NodeState } from './node-state.ts';
import { SET_PURPOSES, setOf } from './set-names.ts';
import { SERVICE_DEVICE, type IpvsModeSettings } from './settings.ts';

/** kube-proxy 1.36, pkg/proxy/ipvs/supported.go: an address of documentation (RFC 5737) that nobody has. */
const PROBE: Omit<VirtualServer, 'scheduler'> = {
  protocol: 'TCP',
  address: '198.51.100.0',
  port: 20_000,
  flags: 0,
  timeoutSeconds: 0,
  clientPrefixLength: 32,
};

/**
 * Has IPVS and its scheduler there, loading what is missing. The scheduler's module is loaded by name before IPVS is
 * asked for it: IPVS itself would load it under a lock that the end of a network namespace waits for, and some
 * schedulers wait for that end when they are loaded (a deadlock, seen with lblc on Linux 6.1).
 */
export async function requireIpvs(kernels: IpvsModeKernels, scheduler: Scheduler): Promise<IpvsKernel> {
  const modules = ['ip_vs', `ip_vs_${scheduler}`, 'nf_conntrack'];
  for (const name of modules) await kernels.node.loadModule(name);
  const ipvs = kernels.openIpvs();
  if (ipvs === undefined) throw missing('IPVS', 'ip_vs', scheduler);
  if (ipvs.virtualServers().some((server) => server.scheduler === scheduler)) return ipvs;
  const server: VirtualServer = { ...PROBE, scheduler };
  const [refusal] = ipvs.apply([{ operation: 'add-server', server }]);
  if (refusal === undefined) {
    ipvs.apply([{ operation: 'delete-server', server }]);
    return ipvs;
  }
  ipvs.close();
  if (refusal.error.code === 'ENOENT') {
    throw missing(`the IPVS scheduler ${scheduler}`, `ip_vs_${scheduler}`, scheduler);
  }
  throw refusal.error;
}

/** kube-proxy 1.36, pkg/proxy/ipvs/proxier.go, NewProxier. */
export function requireSysctls(
  node: NodeState,
  { strictARP = false, scheduler = 'rr' }: IpvsModeSettings,
): void {
  const wanted: [string, string][] = [
    // Without, packets that IPVS leads to an endpoint could not be masqueraded.
    ['net.ipv4.vs.conntrack', '1'],
    // A flow to a real server that is gone is balanced anew.
    ['net.ipv4.vs.expire_nodest_conn', '1'],
    // So is a client that stayed with a real server that terminates.
    ['net.ipv4.vs.expire_quiescent_template', '1'],
    ['net.ipv4.ip_forward', '1'],
  ];
  // Else a client that uses a port again waits a second for its connection; Linux 5.9 mended it.
  if (isOlder(node.kernelRelease, 5, 9)) wanted.push(['net.ipv4.vs.conn_reuse_mode', '0']);
  if (strictARP) {
    wanted.push(['net.ipv4.conf.all.arp_ignore', '1'], ['net.ipv4.conf.all.arp_announce', '2']);
  }
  for (const [key, value] of wanted) {
    const found = node.readSysctl(key);
    if (found === undefined) {
      throw new FlatnetError(`this kernel does not have the setting ${key}`, {
        code: 'IPVS_UNSUPPORTED',
        hint: `the ipvs mode needs a kernel with CONFIG_IP_VS_NFCT; ${loading(scheduler)}`,
      });
    }
    if (found !== value) node.writeSysctl(key, value);
  }
}

/** Has kube-ipvs0 there; it stays down, as kube-proxy leaves it: its addresses are the machine's all the same. */
export async function requireDevice(
  route: RouteKernel,
  node: NodeState,
  scheduler: Scheduler,
): Promise<void> {
  if (route.link(SERVICE_DEVICE) !== undefined) return;
  await node.loadModule('dummy');
  try {
    route.addLink({ kind: 'dummy', name: SERVICE_DEVICE });
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    if (error.code === 'EOPNOTSUPP') throw missing('the device type dummy', 'dummy', scheduler);
    if (error.code !== 'EEXIST') throw error;
  }
}

export function requireSets(ipset: IpsetKernel, families: readonly IpFamily[], scheduler: Scheduler): void {
  try {
    for (const family of families) for (const purpose of SET_PURPOSES) ipset.create(setOf(purpose, family));
  } catch (error) {
    // The kernel has no ipset at all, or not the type.
    if (!(error instanceof FlatnetError) || !['EINVAL', 'IPSET_NO_TYPE', 'ENOENT'].includes(error.code))
      throw error;
    throw missing('ipset', 'ip_set', scheduler, error);
  }
}

function missing(what: string, module: string, scheduler: Scheduler, cause?: unknown): FlatnetError {
  return new FlatnetError(`this kernel does not have ${what} (module ${module}), which the ipvs mode needs`, {
    code: 'IPVS_UNSUPPORTED',
    hint: `${loading(scheduler)}; or choose another mode`,
    ...(cause === undefined ? {} : { cause }),
  });
}

function loading(scheduler: Scheduler): string {
  const modules = ['ip_vs', `ip_vs_${scheduler}`, 'nf_conntrack', 'dummy', 'ip_set', 'xt_set'];
  return `load the modules: ${modules.map((name) => `modprobe ${name}`).join('; ')}`;
}

function isOlder(release: string, major: number, minor: number): boolean {
  const [own = 0, second = 0] = release.split('.').map((part) => Number.parseInt(part, 10));
  return own < major || (own === major && second < minor);
}
