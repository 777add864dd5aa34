import type { Logger } from '../../log/logger.ts';
import type { ProxyConfig } from '../config/proxy-config.ts';
import { setUpMachine } from './set-up.ts';

/** What the mode loads (pkg/proxy/ipvs of kube-proxy 1.36), its scheduler's apart. */
const IPVS_MODULES = ['ip_vs', 'nf_conntrack', 'dummy', 'ip_set', 'xt_set'];

/**
 * For --init-only: does what needs more than CAP_NET_ADMIN, so that a proxy that has no more finds it done. No rule is
 * touched: another proxy may be serving. Throws where the kernel lacks what the mode needs.
 */
export async function initialise(config: ProxyConfig, logger: Logger): Promise<void> {
  await setUpMachine(config, logger);
  if (config.mode === 'iptables' && config.iptables.localhostNodePorts) {
    const { KernelNodeState } = await import('../backends/iptables/node-state.ts');
    const node = new KernelNodeState(undefined);
    node.routeLocalnet();
    node.close();
  }
  if (config.mode !== 'ipvs') return;
  const { KernelNodeState } = await import('../backends/ipvs/node-state.ts');
  const { requireSysctls } = await import('../backends/ipvs/requirements.ts');
  const node = new KernelNodeState(undefined);
  for (const name of [...IPVS_MODULES, `ip_vs_${config.ipvs.scheduler}`]) {
    if (!(await node.loadModule(name))) logger.info({ module: name }, `the module ${name} cannot be loaded`);
  }
  requireSysctls(node, config.ipvs);
}
