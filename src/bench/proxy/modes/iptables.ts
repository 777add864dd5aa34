import type { IptablesVariant } from '../../../kernel/iptables/objects.ts';
import { parseSave } from '../../../kernel/iptables/save-text.ts';
import { run } from '../../../kernel/exec/run.ts';
import { portChains } from '../../../proxy/backends/iptables/chain-names.ts';
import { wrongInKernel, type BenchCluster, type Change } from '../bench-cluster.ts';
import type { BenchNetwork } from '../bench-network.ts';
import { clusterIp, podIp, PORT_NAME, SERVICE_PORT, serviceKey, TARGET_PORT } from '../recorded-objects.ts';
import type { BenchMode, KernelView } from './mode.ts';
import { IptablesInfo } from './iptables-info.ts';
import { NftEvents } from './nft-events.ts';
import { pollBlocking } from './blocking-poll.ts';

const SERVICES_CHAIN = 'KUBE-SERVICES';
/** ip_tables is asked so often how many rules it has: a microsecond of work. */
const POLL_MS = 0.2;

const mode = (name: string, variant: IptablesVariant, view: BenchMode['view']): BenchMode => ({
  name,
  proxyMode: 'iptables',
  // One pod in place of another leaves the number of rules as it is, and nothing else is cheap to ask of ip_tables. The
  // pod goes first: 100 Services with 10 endpoints are the most that have comments in all rules, one more endpoint
  // writes everything anew.
  changes: ['remove', 'add'],
  connection: 'handshake',
  prepareNode: async (network) => makeHint(network, variant),
  view,
});

/** ip_tables tells nothing by itself, but answers how many rules it has. */
export const IPTABLES_LEGACY = mode('iptables', 'legacy', (network) => new LegacyView(network));

/** The same tables in nf_tables, which tells the rules of each transaction when it is there. */
export const IPTABLES_NFT = mode('iptables-nft', 'nft', (network) => new NftView(network));

/** A kubelet leaves this chain with the variant that it uses, and other programs look for it. */
async function makeHint(network: BenchNetwork, variant: IptablesVariant): Promise<void> {
  await run(`iptables-${variant}`, ['-w', '-t', 'mangle', '-N', 'KUBE-IPTABLES-HINT'], {
    netns: network.node.fd,
  });
}

class LegacyView implements KernelView {
  readonly #network: BenchNetwork;
  readonly #info: IptablesInfo;
  #before = 0;

  constructor(network: BenchNetwork) {
    this.#network = network;
    this.#info = IptablesInfo.open(network.node.fd);
  }

  expectChange(): void {
    this.#before = this.#info.entries('nat');
  }

  awaitChange({ kind, index }: Change): void {
    pollBlocking(`the change of Service ${index}`, POLL_MS, () => {
      const now = this.#info.entries('nat');
      return kind === 'add' ? now > this.#before : now < this.#before;
    });
  }

  async verify(cluster: BenchCluster): Promise<void> {
    await verifyTables(this.#network, 'legacy', cluster);
  }

  close(): void {
    this.#info.close();
  }
}

class NftView implements KernelView {
  readonly #network: BenchNetwork;
  #events: NftEvents | undefined;

  constructor(network: BenchNetwork) {
    this.#network = network;
  }

  expectChange(): void {
    this.#events ??= new NftEvents(this.#network.node.fd);
    // Of the rules of one change each is told by itself.
    this.#events.drain();
  }

  awaitChange({ index }: Change): void {
    this.#events?.waitForRule('nat', chainOf(index));
  }

  async verify(cluster: BenchCluster): Promise<void> {
    await verifyTables(this.#network, 'nft', cluster);
  }

  close(): void {
    this.#events?.close();
  }
}

function chainOf(index: number): string {
  return portChains(`${serviceKey(index)}:${PORT_NAME}`, 'tcp').cluster;
}

/** Follows each Service from its address over its chain to its endpoints. */
async function verifyTables(
  network: BenchNetwork,
  variant: IptablesVariant,
  cluster: BenchCluster,
): Promise<void> {
  const save = await run(`iptables-${variant}-save`, ['-t', 'nat'], {
    netns: network.node.fd,
    timeoutMs: 600_000,
  });
  const chains = parseSave(save.stdout).get('nat') ?? new Map<string, string[]>();
  const entries = new Map(
    (chains.get(SERVICES_CHAIN) ?? []).map((rule) => [
      `${after(rule, '-d')} ${after(rule, '--dport')}`,
      after(rule, '-j'),
    ]),
  );
  for (const [index, pods] of cluster.pods.entries()) {
    const chain = entries.get(`${clusterIp(index)}/32 ${SERVICE_PORT}`) ?? '';
    const endpoints = (chains.get(chain) ?? [])
      .map((rule) => after(rule, '-j'))
      .filter((target) => target.startsWith('KUBE-SEP-'))
      .map(
        (target) =>
          chains
            .get(target)
            ?.map((rule) => after(rule, '--to-destination'))
            .join('') ?? '',
      );
    const wanted = new Set(pods.map((pod) => `${podIp(pod)}:${TARGET_PORT}`));
    if (endpoints.length !== wanted.size || !endpoints.every((endpoint) => wanted.has(endpoint))) {
      throw wrongInKernel(`something else for Service ${index}`);
    }
  }
}

/** The word behind an option; empty without. */
function after(rule: string, option: string): string {
  const at = ` ${rule}`.indexOf(` ${option} `);
  if (at < 0) return '';
  const start = at + option.length + 1;
  const end = rule.indexOf(' ', start);
  return rule.slice(start, end < 0 ? undefined : end);
}
