import {
  addressField,
  endpointData,
  indexField,
  portField,
  protocolField,
} from '../../../kernel/nft/field.ts';
import { NftSocket } from '../../../kernel/nft/nft-socket.ts';
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

  constructor(network: BenchNetwork) {
    this.#network = network;
  }

  expectChange(): void {
    // Opened late: a first sync is more than the socket could hold.
    this.#events ??= new NftEvents(this.#network.node.fd);
  }

  awaitChange({ kind, index, pods, pod, place }: Change): void {
    const entry = entryOf(index);
    if (kind === 'remove') {
      this.#events?.waitForElement(SETS.serviceIps, { key: entry, value: indexField(pods.length) });
      return;
    }
    const value = endpointData(podIp(pod), TARGET_PORT);
    this.#events?.waitForElement(SETS.endpoints, { key: entry + indexField(place), value });
  }

  verify(cluster: BenchCluster): void {
    const nft = NftSocket.open({ netns: this.#network.node.fd });
    try {
      const endpoints = new Map(nft.elements(SETS.endpoints).map(({ key, value }) => [key, value]));
      const services = new Map(nft.elements(SETS.serviceIps).map(({ key, value }) => [key, value]));
      for (const [index, pods] of cluster.pods.entries()) {
        const entry = entryOf(index);
        const held = new Set(pods.map((_, number) => endpoints.get(entry + indexField(number))));
        const wanted = pods.map((pod) => endpointData(podIp(pod), TARGET_PORT));
        const right = wanted.every((endpoint) => held.has(endpoint));
        if (!right || services.get(entry) !== indexField(pods.length)) {
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
}

function entryOf(index: number): string {
  return addressField(clusterIp(index)) + protocolField('TCP') + portField(SERVICE_PORT);
}
