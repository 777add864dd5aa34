import type { ProxyBackend, ProxyMode } from '../../../src/proxy/backend.ts';
import type { ProxySettings } from '../../../src/proxy/settings.ts';

/** A mode, or a variant of one, as the suite opens it. */
export interface ConformingMode {
  /** `iptables (legacy)`. */
  readonly name: string;
  readonly mode: ProxyMode;
  /** `netns`: descriptor of the namespace of the node. */
  open(settings: ProxySettings, netns: number): Promise<ProxyBackend>;
}

export const NFTABLES: ConformingMode = {
  name: 'nftables',
  mode: 'nftables',
  async open(settings, netns) {
    const { NftablesBackend } = await import('../../../src/proxy/backends/nftables/backend.ts');
    return await NftablesBackend.open(settings, { netns });
  },
};

function iptables(variant: 'legacy' | 'nft'): ConformingMode {
  return {
    name: `iptables (${variant})`,
    mode: 'iptables',
    async open(settings, netns) {
      const { IptablesBackend } = await import('../../../src/proxy/backends/iptables/backend.ts');
      return await IptablesBackend.open(settings, { variant }, undefined, netns);
    },
  };
}

export const IPTABLES_LEGACY = iptables('legacy');
export const IPTABLES_NFT = iptables('nft');

export const USERSPACE: ConformingMode = {
  name: 'userspace',
  mode: 'userspace',
  async open(settings, netns) {
    const { UserspaceBackend } = await import('../../../src/proxy/backends/userspace/backend.ts');
    return await UserspaceBackend.open(settings, {}, undefined, netns);
  },
};
