import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import { Ip } from '../../net/ip.ts';
import { PROXY_MODES, type ProxyBackend, type ProxyMode } from '../backend.ts';
import type { ProxyConfig } from '../config/proxy-config.ts';
import { modeSettingsOf, openBackend } from '../open-backend.ts';
import { resolveSettings } from '../resolve-settings.ts';

/**
 * Removes what the proxy, in any mode, has in the kernel; Services are not served any more then. Throws
 * CLEANUP_FAILED when something could not be removed, after the rest is.
 */
export async function cleanUp(config: ProxyConfig, logger: Logger): Promise<void> {
  const failures: string[] = [];
  for (const mode of PROXY_MODES) {
    const backend = await open(mode, config, logger);
    if (backend === undefined) continue;
    try {
      await backend.remove();
      logger.info({ mode }, `nothing of the mode ${mode} is left`);
    } catch (error) {
      failures.push(`${mode}: ${describeError(error)}`);
    } finally {
      await backend.close();
    }
  }
  if (failures.length === 0) return;
  throw new FlatnetError(`not everything could be removed: ${failures.join('; ')}`, {
    code: 'CLEANUP_FAILED',
    hint: 'it needs root, and no other proxy running',
  });
}

/** Undefined where the machine cannot serve the mode: then there is nothing of it. */
async function open(mode: ProxyMode, config: ProxyConfig, logger: Logger): Promise<ProxyBackend | undefined> {
  const settings = resolveSettings({
    config: { ...config, mode },
    // Whatever the node's own are, these are there.
    node: { ips: [Ip.parse('127.0.0.1'), Ip.parse('::1')], podCidrs: [] },
    serviceCidrs: [],
    families: [4, 6],
    addresses: [],
  });
  try {
    return await openBackend(mode, settings, modeSettingsOf(config), { logger });
  } catch (error) {
    const text = describeError(error);
    logger.info({ mode, error: text }, `there can be nothing of the mode ${mode} here: ${text}`);
    return undefined;
  }
}
