import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import { Ip } from '../../net/ip.ts';
import { PROXY_MODES, type ProxyBackend, type ProxyMode } from '../backend.ts';
import type { ProxyConfig } from '../config/proxy-config.ts';
import { removeKubeProxyTables } from '../kube-proxy-tables.ts';
import { modeSettingsOf, openBackend, type OpenBackendOptions } from '../open-backend.ts';
import { resolveSettings } from '../resolve-settings.ts';

/**
 * Removes what the proxy, in any mode, has in the kernel, and what kube-proxy has; Services are not served any more
 * then. `netns`: descriptor of the network namespace; the process's own when absent. Throws CLEANUP_FAILED when
 * something could not be removed, after the rest is.
 */
export async function cleanUp(config: ProxyConfig, logger: Logger, netns?: number): Promise<void> {
  const failures: string[] = [];
  const where = netns === undefined ? {} : { netns };
  for (const mode of PROXY_MODES) {
    const backend = await open(mode, config, { logger, ...where });
    if (backend === undefined) continue;
    try {
      await backend.remove({ endConnections: true });
      logger.info({ mode }, `nothing of the mode ${mode} is left`);
    } catch (error) {
      failures.push(`${mode}: ${describeError(error)}`);
    } finally {
      await backend.close();
    }
  }
  try {
    for (const table of removeKubeProxyTables(netns)) logger.info({ table }, `table ${table} removed`);
  } catch (error) {
    failures.push(`kube-proxy's tables: ${describeError(error)}`);
  }
  if (failures.length === 0) return;
  throw new FlatnetError(`not everything could be removed: ${failures.join('; ')}`, {
    code: 'CLEANUP_FAILED',
    hint: 'it needs root, and no other proxy running',
  });
}

/** Undefined where the machine cannot serve the mode: then there is nothing of it. */
async function open(
  mode: ProxyMode,
  config: ProxyConfig,
  options: OpenBackendOptions & { readonly logger: Logger },
): Promise<ProxyBackend | undefined> {
  const settings = resolveSettings({
    config: { ...config, mode },
    // Whatever the node's own are, these are there.
    node: { ips: [Ip.parse('127.0.0.1'), Ip.parse('::1')], podCidrs: [] },
    serviceCidrs: [],
    families: [4, 6],
    addresses: [],
  });
  try {
    return await openBackend(mode, settings, modeSettingsOf(config), options);
  } catch (error) {
    const text = describeError(error);
    options.logger.info({ mode, error: text }, `there can be nothing of the mode ${mode} here: ${text}`);
    return undefined;
  }
}
