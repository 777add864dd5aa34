import { addressField, endpointData, portField, protocolField } from '../../../kernel/nft/field.ts';
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

  constructor(network: BenchNetwork) {
    this.#network = network;
  }

  expectChange(): void {
    // Opened late: a first sync is more than the socket could hold.
    this.#events ??= new NftEvents(this.#network.node.fd);
  }

  awaitChange({ kind, pod }: Change): void {
    this.#events?.waitForElement(SETS.endpoints, kind === 'remove' ? 'gone' : 'there', dataOf(pod));
  }

  verify(cluster: BenchCluster): void {
    const nft = NftSocket.open({ netns: this.#network.node.fd });
    try {
      const codes = new Map(nft.elements(SETS.serviceIps).map(({ key, value }) => [key, value]));
      const counts = new Map(nft.elements(SETS.pools).map(({ key, value }) => [key, value]));
      const endpoints = endpointsByPool(nft);
      for (const [index, pods] of cluster.pods.entries()) {
        const pool = poolKeyOf(codes.get(keyOf(index))) ?? '';
        const held = endpoints.get(pool) ?? new Set();
        const right = held.size === pods.length && pods.every((pod) => held.has(dataOf(pod)));
        if (!right || counts.get(pool) !== poolValueOf(pods.length)) {
          throw wrongInKernel(`something else for Service ${index}`);
        }
      }
      if (endpoints.size !== cluster.pods.length) throw wrongInKernel('more Services than there are');
    } finally {
      nft.close();
    }
  }

  close(): void {
    this.#events?.close();
  }
}

const dataOf = (pod: number): string => endpointData(podIp(pod), TARGET_PORT);

const keyOf = (index: number): string =>
  addressField(clusterIp(index)) + protocolField('TCP') + portField(SERVICE_PORT);

function endpointsByPool(nft: NftSocket): Map<string, Set<string | undefined>> {
  // The pool is the first field of the key, a number of 32 bits.
  const poolBytes = 4;
  const pools = new Map<string, Set<string | undefined>>();
  for (const { key, value } of nft.elements(SETS.endpoints)) {
    const pool = key.slice(0, poolBytes);
    const endpoints = pools.get(pool);
    if (endpoints === undefined) pools.set(pool, new Set([value]));
    else endpoints.add(value);
  }
  return pools;
}
