import { FlatnetError } from '../../errors/flatnet-error.ts';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { createNetns, deleteNetns, Netns } from '../../kernel/netns/netns.ts';
import { Ip } from '../../net/ip.ts';

export interface BenchNode {
  readonly netns: Netns;
  readonly kernel: LinuxRouteKernel;
  readonly ip: Ip;
  /** Name of the namespace of the node's one pod, empty as yet. */
  readonly pod: string;
}

/** Two namespaces joined by a veth `eth0`, which stand for two nodes on one Ethernet of 1500 bytes. */
export class NodePair {
  readonly nodes: readonly [BenchNode, BenchNode];
  readonly #names: string[] = [];

  constructor(prefix: string) {
    this.nodes = [this.#node(prefix, 1), this.#node(prefix, 2)];
    const [first, second] = this.nodes;
    first.kernel.addLink({
      kind: 'veth',
      name: 'eth0',
      up: true,
      peer: { name: 'eth0', netns: second.netns.fd, up: true },
    });
    for (const { kernel, ip } of this.nodes) {
      for (const device of ['lo', 'eth0']) kernel.changeLink(kernel.link(device)?.index ?? 0, { up: true });
      kernel.addAddress({ link: kernel.link('eth0')?.index ?? 0, ip, prefixLength: 24 });
    }
  }

  close(): void {
    for (const { kernel, netns } of this.nodes) {
      // Their workers end with them; a worker would keep the namespace.
      for (const { index, kind } of kernel.links()) if (kind === 'tun') deleteIfThere(kernel, index);
      kernel.close();
      netns.close();
    }
    for (const name of this.#names) deleteNetns(name);
  }

  #node(prefix: string, index: number): BenchNode {
    const [node, pod] = [`${prefix}-node${index}`, `${prefix}-pod${index}`];
    for (const name of [node, pod]) {
      createNetns(name);
      this.#names.push(name);
    }
    const netns = Netns.named(node);
    return { netns, pod, kernel: LinuxRouteKernel.open(netns.fd), ip: Ip.parse(`172.30.0.${index}`) };
  }
}

/** One whose program was ended a moment ago may go by itself. */
function deleteIfThere(kernel: LinuxRouteKernel, link: number): void {
  try {
    kernel.deleteLink(link);
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'ENODEV') throw error;
  }
}
