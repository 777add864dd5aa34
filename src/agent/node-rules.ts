import { FlatnetError } from '../errors/flatnet-error.ts';
import { openIptables } from '../kernel/iptables/open.ts';
import type { IptablesKernel } from '../kernel/iptables/objects.ts';
import type { NftKernel } from '../kernel/nft/objects.ts';
import { nftablesServes } from '../kernel/nft/support.ts';
import type { Logger } from '../log/logger.ts';
import type { Cidr } from '../net/cidr.ts';
import type { IpFamily } from '../net/ip.ts';
import { applyIptablesMasquerade } from '../podnet/masquerade/iptables-masquerade.ts';
import { MASQUERADE_TABLE, renderMasquerade, renderNoMasquerade } from '../podnet/masquerade/ruleset.ts';
import { renderSegmentSize, SEGMENT_SIZE_TABLE } from '../podnet/segment-size/ruleset.ts';
import { renderTunnelRules, TUNNEL_TABLE } from '../podnet/tunnel/ruleset.ts';
import type { AgentConfig } from './config.ts';

const OWN_TABLES = [MASQUERADE_TABLE, TUNNEL_TABLE, SEGMENT_SIZE_TABLE];

interface Range {
  readonly podCidr: Cidr;
  readonly network: Cidr;
}

/**
 * The node's packet filter rules: masquerade, no tracking of tunnels' packets, TCP segment sizes. They are nftables
 * tables; where the kernel has no nftables, iptables masquerades, tunnels' packets are tracked, which only costs some
 * throughput, and segment sizes are refused.
 */
export class NodeRules {
  readonly #nft: NftKernel;
  readonly #config: AgentConfig;
  readonly #logger: Logger;
  #hasNftables: boolean | undefined;
  readonly #iptables = new Map<IpFamily, IptablesKernel>();
  #applied = '';

  constructor(nft: NftKernel, config: AgentConfig, logger: Logger) {
    this.#nft = nft;
    this.#config = config;
    this.#logger = logger;
  }

  async apply(podCidrs: ReadonlyMap<IpFamily, Cidr>, tunnelPorts: readonly number[]): Promise<void> {
    const { network, ipMasq, clampMSS, proxy } = this.#config;
    const ranges = [...podCidrs].map(([family, podCidr]) => ({
      podCidr,
      network: network.networks.get(family) ?? podCidr,
    }));
    const ruleset = [
      ipMasq ? renderMasquerade(ranges, proxy.nftables.masqueradeBit) : renderNoMasquerade(),
      renderTunnelRules(tunnelPorts),
      renderSegmentSize(clampMSS ? ranges.map((range) => range.network) : []),
    ].join('');
    if (ruleset === this.#applied) return;
    this.#hasNftables ??= nftablesServes(4) && nftablesServes(6);
    if (this.#hasNftables) await this.#nft.load(ruleset);
    else await this.#applyIptables(ranges);
    this.#applied = ruleset;
  }

  /** Has the next `apply` load everything, where somebody has taken a table away. */
  verify(): void {
    const gone = (name: string): boolean => this.#nft.chains({ family: 'inet', name }) === undefined;
    const reload =
      this.#hasNftables === false ||
      OWN_TABLES.some((name) => this.#applied.includes(`table inet ${name} {`) && gone(name));
    if (reload) this.#applied = '';
  }

  async #applyIptables(ranges: readonly Range[]): Promise<void> {
    const { ipMasq, clampMSS, proxy } = this.#config;
    if (clampMSS) {
      throw new FlatnetError('clampMSS: this kernel has no nftables, which it needs', {
        code: 'NFTABLES_MISSING',
        hint: 'set it to false, or load the kernel module nf_tables_inet (CONFIG_NF_TABLES_INET)',
      });
    }
    for (const range of ranges) {
      const { family } = range.podCidr;
      const iptables = this.#iptables.get(family) ?? (await this.#openIptables(family));
      await applyIptablesMasquerade(iptables, ipMasq ? range : undefined, proxy.nftables.masqueradeBit);
    }
  }

  async #openIptables(family: IpFamily): Promise<IptablesKernel> {
    this.#logger.info({ family }, 'this kernel has no nftables: iptables masquerades');
    // The other variant is nftables.
    const opened = await openIptables({ family, variant: 'legacy' });
    this.#iptables.set(family, opened);
    return opened;
  }
}
