import { createLogger } from '../../../src/log/logger.ts';
import type { ProxyBackend, ProxyMode } from '../../../src/proxy/backend.ts';
import { openBackend } from '../../../src/proxy/open-backend.ts';
import type { ProxySettings } from '../../../src/proxy/settings.ts';

/** A mode, or a variant of one, as the suite opens it. */
export interface ConformingMode {
  /** `iptables (legacy)`. */
  readonly name: string;
  readonly mode: ProxyMode;
  /** `netns`: descriptor of the namespace of the node. */
  open(settings: ProxySettings, netns: number): Promise<ProxyBackend>;
}

const logger = createLogger('conformance', 'silent');

function usual(mode: ProxyMode): ConformingMode {
  return {
    name: mode,
    mode,
    open: async (settings, netns) => await openBackend(mode, settings, {}, { netns, logger }),
  };
}

function iptables(variant: 'legacy' | 'nft'): ConformingMode {
  return {
    name: `iptables (${variant})`,
    mode: 'iptables',
    async open(settings, netns) {
      const { IptablesBackend } = await import('../../../src/proxy/backends/iptables/backend.ts');
      return await IptablesBackend.open(settings, { variant }, logger, netns);
    },
  };
}

export const NFTABLES = usual('nftables');
export const IPTABLES_LEGACY = iptables('legacy');
export const IPTABLES_NFT = iptables('nft');
export const USERSPACE = usual('userspace');
export const IPVS = usual('ipvs');
