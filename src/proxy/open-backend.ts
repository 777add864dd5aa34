import type { Logger } from '../log/logger.ts';
import type { ProxyBackend, ProxyMode } from './backend.ts';
import type { IpvsModeSettings } from './backends/ipvs/settings.ts';
import type { UserspaceSettings } from './backends/userspace/settings.ts';
import type { KubeProxyConfig, ProxyConfig } from './config/proxy-config.ts';
import type { ProxySettings } from './settings.ts';

/** What single modes need beside what every mode does; a mode that is not given takes its defaults. */
export interface ModeSettings {
  readonly ipvs?: IpvsModeSettings;
  readonly userspace?: UserspaceSettings;
}

export interface OpenBackendOptions {
  /** Descriptor of the network namespace to serve; the process's own when absent. */
  readonly netns?: number;
  readonly logger?: Logger;
}

/** `config`: of a node, or the whole of kube-proxy's, which has fields of the userspace mode as well. */
export function modeSettingsOf(
  config: ProxyConfig & Partial<Pick<KubeProxyConfig, 'portRange' | 'udpIdleTimeout'>>,
): ModeSettings {
  const { bindAddress, portRange, udpIdleTimeout, ipvs } = config;
  return {
    ipvs,
    userspace: {
      ...(bindAddress === undefined ? {} : { bindAddresses: [bindAddress] }),
      ...(portRange === undefined ? {} : { portRange }),
      ...(udpIdleTimeout === undefined || udpIdleTimeout === 0 ? {} : { udpIdleTimeoutMs: udpIdleTimeout }),
    },
  };
}

type Open = (
  settings: ProxySettings,
  modes: ModeSettings,
  options: OpenBackendOptions,
) => Promise<ProxyBackend>;

const OPEN: Readonly<Record<ProxyMode, Open>> = {
  nftables: async (settings, _, { netns }) => {
    const { NftablesBackend } = await import('./backends/nftables/backend.ts');
    return NftablesBackend.open(settings, netns === undefined ? {} : { netns });
  },
  iptables: async (settings, _, { logger, netns }) => {
    const { IptablesBackend } = await import('./backends/iptables/backend.ts');
    return IptablesBackend.open(settings, {}, logger, netns);
  },
  userspace: async (settings, { userspace = {} }, { logger, netns }) => {
    const { UserspaceBackend } = await import('./backends/userspace/backend.ts');
    return UserspaceBackend.open(settings, userspace, logger, netns);
  },
  ipvs: async (settings, { ipvs = {} }, { logger, netns }) => {
    const { IpvsBackend } = await import('./backends/ipvs/backend.ts');
    return IpvsBackend.open(settings, ipvs, logger, netns);
  },
};

/**
 * The backend of a mode on the real kernel; the code of the other modes is not even loaded. Throws FlatnetError where
 * the kernel or a tool of the mode is missing.
 */
export async function openBackend(
  mode: ProxyMode,
  settings: ProxySettings,
  modes: ModeSettings = {},
  options: OpenBackendOptions = {},
): Promise<ProxyBackend> {
  return OPEN[mode](settings, modes, options);
}
