import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { ProxyBackend, ProxyMode } from './backend.ts';
import type { UserspaceSettings } from './backends/userspace/settings.ts';
import type { KubeProxyConfig, ProxyConfig } from './config/proxy-config.ts';
import type { ProxySettings } from './settings.ts';

/** What single modes need beside what every mode does; a mode that is not given takes its defaults. */
export interface ModeSettings {
  readonly ipvs?: ProxyConfig['ipvs'];
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
  const { bindAddress, portRange, udpIdleTimeout = 0, ipvs } = config;
  return {
    ipvs,
    userspace: {
      ...(bindAddress === undefined ? {} : { bindAddresses: [bindAddress] }),
      ...(portRange === undefined ? {} : { portRange }),
      ...(udpIdleTimeout === 0 ? {} : { udpIdleTimeoutMs: udpIdleTimeout }),
    },
  };
}

/**
 * The backend of a mode on the real kernel; the code of the other modes is not even loaded. Throws FlatnetError where
 * the kernel or a tool of the mode is missing.
 */
export async function openBackend(
  mode: ProxyMode,
  settings: ProxySettings,
  modes: ModeSettings = {},
  { netns, logger }: OpenBackendOptions = {},
): Promise<ProxyBackend> {
  switch (mode) {
    case 'nftables': {
      const { NftablesBackend } = await import('./backends/nftables/backend.ts');
      return NftablesBackend.open(settings, netns === undefined ? {} : { netns });
    }
    case 'iptables': {
      const { IptablesBackend } = await import('./backends/iptables/backend.ts');
      return IptablesBackend.open(settings, {}, logger, netns);
    }
    case 'userspace': {
      const { UserspaceBackend } = await import('./backends/userspace/backend.ts');
      return UserspaceBackend.open(settings, modes.userspace ?? {}, logger, netns);
    }
    case 'ipvs':
      throw new FlatnetError(`the mode ${mode} is not there yet`, { code: 'MODE_UNSUPPORTED' });
  }
}
