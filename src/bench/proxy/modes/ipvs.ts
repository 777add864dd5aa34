import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { IpvsSocket } from '../../../kernel/ipvs/ipvs-socket.ts';
import type { VirtualServerKey } from '../../../kernel/ipvs/objects.ts';
import { wrongInKernel, type BenchCluster, type Change } from '../bench-cluster.ts';
import { clusterIp, podIp, SERVICE_PORT } from '../recorded-objects.ts';
import { pollBlocking } from './blocking-poll.ts';
import type { BenchMode, KernelView } from './mode.ts';

/** IPVS tells nothing by itself: the real servers of one Service are listed so often, a tenth of a millisecond of work. */
const POLL_MS = 0.5;

export const IPVS: BenchMode = {
  name: 'ipvs',
  proxyMode: 'ipvs',
  changes: ['replace', 'add', 'remove'],
  connection: 'handshake',
  view: ({ node }) => new IpvsView(node.fd),
};

/** Whether this machine's kernel has IPVS, or could load it. */
export function ipvsAvailable(): boolean {
  const socket = IpvsSocket.open();
  socket?.close();
  return socket !== undefined;
}

class IpvsView implements KernelView {
  readonly #ipvs: IpvsSocket;

  constructor(netns: number) {
    const ipvs = IpvsSocket.open(netns);
    if (ipvs === undefined) throw new FlatnetError('the kernel has no IPVS', { code: 'IPVS_MISSING' });
    this.#ipvs = ipvs;
  }

  awaitChange({ index, pods }: Change): void {
    // A real server more and one less are two requests.
    pollBlocking(`the change of Service ${index}`, POLL_MS, () => this.#balances(index, pods));
  }

  verify(cluster: BenchCluster): void {
    for (const [index, pods] of cluster.pods.entries()) {
      if (!this.#balances(index, pods)) throw wrongInKernel(`something else for Service ${index}`);
    }
  }

  close(): void {
    this.#ipvs.close();
  }

  /** Whether these pods and no others get new connections. */
  #balances(index: number, pods: readonly number[]): boolean {
    const server: VirtualServerKey = { protocol: 'TCP', address: clusterIp(index), port: SERVICE_PORT };
    const held = this.#ipvs.realServers(server).filter(({ weight }) => weight > 0);
    const wanted = new Set(pods.map(podIp));
    return held.length === wanted.size && held.every(({ address }) => wanted.has(address));
  }
}
