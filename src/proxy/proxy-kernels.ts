import { existsSync } from 'node:fs';
import { describeError } from '../errors/flatnet-error.ts';
import { ConntrackSocket } from '../kernel/conntrack/conntrack-socket.ts';
import type { ConntrackKernel } from '../kernel/conntrack/objects.ts';
import { LinuxRouteKernel } from '../kernel/netlink/apply.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Logger } from '../log/logger.ts';
import type { IpFamily } from '../net/ip.ts';
import type { ProxyBackend, ProxyMode } from './backend.ts';
import type { ProxyConfig } from './config/proxy-config.ts';
import { removeKubeProxyTables } from './kube-proxy-tables.ts';
import { modeSettingsOf, openBackend } from './open-backend.ts';
import type { ProxySettings } from './settings.ts';

/** What the proxy touches of the machine. */
export interface ProxyKernels {
  openBackend(
    mode: ProxyMode,
    settings: ProxySettings,
    config: ProxyConfig,
    logger: Logger,
  ): Promise<ProxyBackend>;
  readonly routes: RouteKernel;
  /** Undefined where connections are not tracked, or cannot be asked for. */
  readonly conntrack: ConntrackKernel | undefined;
  readonly families: readonly IpFamily[];
  /** False where the mode cannot have left anything: to open it could load what the machine has no other use for. */
  mayHaveLeft(mode: ProxyMode): boolean;
  /** Of kube-proxy's nftables mode. Returns what was there. */
  readonly removeKubeProxyTables: () => readonly string[];
}

/** Holds the addresses of Services in ipvs mode. */
const IPVS_DEVICE = 'kube-ipvs0';
const IPVS_MODULE = '/proc/net/ip_vs';

/** The real ones of a network namespace; the process's own when absent. */
export function openKernels({
  netns,
  logger,
}: {
  readonly netns?: number;
  readonly logger: Logger;
}): ProxyKernels {
  const routes = LinuxRouteKernel.open(netns);
  return {
    openBackend: async (mode, settings, config, told) =>
      openBackend(mode, settings, modeSettingsOf(config), {
        logger: told,
        ...(netns === undefined ? {} : { netns }),
      }),
    routes,
    conntrack: openConntrack(netns, logger),
    mayHaveLeft: (mode) =>
      mode !== 'ipvs' || routes.link(IPVS_DEVICE) !== undefined || existsSync(IPVS_MODULE),
    removeKubeProxyTables: () => removeKubeProxyTables(netns),
    // Absent with the kernel's ipv6.disable=1.
    families: existsSync('/proc/net/if_inet6') ? [4, 6] : [4],
  };
}

/** A kernel without ctnetlink is no reason to leave Services unprogrammed. */
function openConntrack(netns: number | undefined, logger: Logger): ConntrackKernel | undefined {
  try {
    return ConntrackSocket.open(netns);
  } catch (error) {
    const text = describeError(error);
    logger.warn({ error: text }, `UDP connections to endpoints that are gone may stay: ${text}`);
    return undefined;
  }
}
