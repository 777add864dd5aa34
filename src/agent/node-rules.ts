import type { NftKernel } from '../kernel/nft/objects.ts';
import type { Cidr } from '../net/cidr.ts';
import type { IpFamily } from '../net/ip.ts';
import { MASQUERADE_TABLE, renderMasquerade, renderNoMasquerade } from '../podnet/masquerade/ruleset.ts';
import { renderSegmentSize, SEGMENT_SIZE_TABLE } from '../podnet/segment-size/ruleset.ts';
import { renderTunnelRules, TUNNEL_TABLE } from '../podnet/tunnel/ruleset.ts';
import type { AgentConfig } from './config.ts';

const OWN_TABLES = [MASQUERADE_TABLE, TUNNEL_TABLE, SEGMENT_SIZE_TABLE];

/** The node's nftables tables: masquerade, no tracking of tunnels' packets, TCP segment sizes. */
export class NodeRules {
  readonly #nft: NftKernel;
  readonly #config: AgentConfig;
  #applied = '';

  constructor(nft: NftKernel, config: AgentConfig) {
    this.#nft = nft;
    this.#config = config;
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
    await this.#nft.load(ruleset);
    this.#applied = ruleset;
  }

  /** Has the next `apply` load everything, where somebody has taken a table away. */
  verify(): void {
    const gone = (name: string): boolean => this.#nft.chains({ family: 'inet', name }) === undefined;
    if (OWN_TABLES.some((name) => this.#applied.includes(`table inet ${name} {`) && gone(name)))
      this.#applied = '';
  }
}
