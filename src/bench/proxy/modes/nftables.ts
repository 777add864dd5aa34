import {
  addressField,
  endpointData,
  indexField,
  portField,
  protocolField,
} from '../../../kernel/nft/field.ts';
import { NftSocket } from '../../../kernel/nft/nft-socket.ts';
import { poolKeyOf, poolValueOf } from '../../../proxy/backends/nftables/held-service.ts';
import { proxySets } from '../../../proxy/backends/nftables/sets.ts';
import { wrongInKernel, type BenchCluster, type Change } from '../bench-cluster.ts';
import type { BenchNetwork } from '../bench-network.ts';
import { clusterIp, podIp, SERVICE_PORT, TARGET_PORT } from '../recorded-objects.ts';
import type { BenchMode, KernelView } from './mode.ts';
import { NftEvents } from './nft-events.ts';

const SETS = proxySets(4);

/** nf_tables tells the elements of each transaction when it is there. */
export const NFTABLES: BenchMode = {
  name: 'nftables',
  proxyMode: 'nftables',
  changes: ['replace', 'add', 'remove'],
  connection: 'handshake',
  view: (network) => new NftablesView(network),
};

class NftablesView implements KernelView {
  readonly #network: BenchNetwork;
  #events: NftEvents | undefined;
  /** Where each Service's endpoints are: that does not change any more. */
  #pools: ReadonlyMap<string, string> | undefined;

  constructor(network: BenchNetwork) {
    this.#network = network;
  }

  expectChange(): void {
    // Opened late: a first sync is more than the socket could hold.
    this.#events ??= new NftEvents(this.#network.node.fd);
    this.#pools ??= this.#readPools();
  }

  awaitChange({ kind, index, pods, pod, place }: Change): void {
    const pool = this.#pools?.get(entryOf(index)) ?? '';
    if (kind === 'remove') {
      this.#events?.waitForElement(SETS.pools, { key: pool, value: poolValueOf(pods.length) });
      return;
    }
    const value = endpointData(podIp(pod), TARGET_PORT);
    this.#events?.waitForElement(SETS.endpoints, { key: pool + indexField(place), value });
  }

  verify(cluster: BenchCluster): void {
    const nft = NftSocket.open({ netns: this.#network.node.fd });
    try {
      const endpoints = new Map(nft.elements(SETS.endpoints).map(({ key, value }) => [key, value]));
      const counts = new Map(nft.elements(SETS.pools).map(({ key, value }) => [key, value]));
      const pools = poolsOf(nft);
      for (const [index, pods] of cluster.pods.entries()) {
        const pool = pools.get(entryOf(index)) ?? '';
        const held = new Set(pods.map((_, number) => endpoints.get(pool + indexField(number))));
        const wanted = pods.map((pod) => endpointData(podIp(pod), TARGET_PORT));
        const right = wanted.every((endpoint) => held.has(endpoint));
        if (!right || counts.get(pool) !== poolValueOf(pods.length)) {
          throw wrongInKernel(`something else for Service ${index}`);
        }
      }
      const total = cluster.pods.reduce((sum, pods) => sum + pods.length, 0);
      if (endpoints.size !== total) throw wrongInKernel('more endpoints than there are');
    } finally {
      nft.close();
    }
  }

  close(): void {
    this.#events?.close();
  }

  #readPools(): ReadonlyMap<string, string> {
    const nft = NftSocket.open({ netns: this.#network.node.fd });
    try {
      return poolsOf(nft);
    } finally {
      nft.close();
    }
  }
}

/** By the entries of `service-ips`. */
function poolsOf(nft: NftSocket): Map<string, string> {
  return new Map(nft.elements(SETS.serviceIps).map(({ key, value }) => [key, poolKeyOf(value) ?? '']));
}

function entryOf(index: number): string {
  return addressField(clusterIp(index)) + protocolField('TCP') + portField(SERVICE_PORT);
}
