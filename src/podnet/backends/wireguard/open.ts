import { LinuxRouteKernel } from '../../../kernel/netlink/apply.ts';
import { loadOrCreateKey } from '../../../kernel/wireguard/key-file.ts';
import { openWireguard } from '../../../kernel/wireguard/open.ts';
import type { BackendContext, OpenedBackend } from '../open-backend.ts';
import { WireguardDriver } from './driver.ts';
import type { WireguardSettings } from './settings.ts';
import { WireguardBackend } from './wireguard.ts';

/** Where flannel keeps the key, so that a node that changes over to Flatnet keeps its own. */
const KEY_FILE = '/run/flannel/wgkey';

/** Throws WIREGUARD_MISSING, WIREGUARD_KEY_FILE. */
export function openWireguardBackend(
  settings: WireguardSettings,
  { logger, netns }: BackendContext,
): OpenedBackend {
  const privateKey = loadOrCreateKey(process.env['WIREGUARD_KEY_FILE'] ?? KEY_FILE, logger);
  const route = LinuxRouteKernel.open(netns);
  const wireguard = openWireguard(route, netns);
  logger.info({ provider: wireguard.provider }, 'WireGuard is there');
  const driver = new WireguardDriver({ wireguard, route, privateKey, presharedKey: settings.presharedKey });
  return { backend: new WireguardBackend(settings, privateKey.publicKey()), drivers: [driver] };
}
