import { run } from '../../kernel/exec/run.ts';
import { createNetns, deleteNetns, Netns, netnsPath } from '../../kernel/netns/netns.ts';

/** The node's InternalIP. */
export const NODE_IP = '10.250.0.1';
/** All pods, the client's address included. */
export const POD_CIDR = '10.128.0.0/9';
/** Those that answer: whatever their address, they are one namespace. */
const SERVING_PODS = '10.128.0.0/10';

/**
 * A pod that no Service has. To call an endpoint by itself as well as through its Service would now and then meet what
 * IPVS remembers of the same client's port.
 */
export const LONE_POD_IP = '10.191.255.254';

/** A node, a pod on it that calls, and a namespace that stands for all pods that are called; joined by veth pairs. */
export class BenchNetwork {
  readonly node: Netns;
  readonly client: Netns;
  readonly server: Netns;
  readonly #names: readonly [node: string, client: string, server: string];

  private constructor(names: readonly [node: string, client: string, server: string]) {
    this.#names = names;
    [this.node, this.client, this.server] = [
      Netns.named(names[0]),
      Netns.named(names[1]),
      Netns.named(names[2]),
    ];
  }

  static async create(prefix: string): Promise<BenchNetwork> {
    const names = [`${prefix}-node`, `${prefix}-client`, `${prefix}-server`] as const;
    for (const name of names) createNetns(name);
    const network = new BenchNetwork(names);
    try {
      await network.#connect(...names);
      return network;
    } catch (error) {
      network.close();
      throw error;
    }
  }

  get clientPath(): string {
    return netnsPath(this.#names[1]);
  }

  get serverPath(): string {
    return netnsPath(this.#names[2]);
  }

  close(): void {
    for (const netns of [this.node, this.client, this.server]) netns.close();
    for (const name of this.#names) deleteNetns(name);
  }

  async #connect(node: string, client: string, server: string): Promise<void> {
    const commands: readonly (readonly [string, readonly string[]])[] = [
      [
        node,
        [
          'link set lo up',
          `addr add ${NODE_IP}/32 dev lo`,
          `link add to-client up type veth peer name eth0 netns ${client}`,
          `link add to-server up type veth peer name eth0 netns ${server}`,
          'addr add 10.255.0.1/24 dev to-client',
          'addr add 10.255.1.1/24 dev to-server',
          `route add ${SERVING_PODS} via 10.255.1.2`,
        ],
      ],
      [
        client,
        [
          'link set lo up',
          'link set eth0 up',
          'addr add 10.255.0.2/24 dev eth0',
          'route add default via 10.255.0.1',
        ],
      ],
      [
        server,
        [
          'link set lo up',
          'link set eth0 up',
          'addr add 10.255.1.2/24 dev eth0',
          'route add default via 10.255.1.1',
          `route add local ${SERVING_PODS} dev lo`,
        ],
      ],
    ];
    for (const [netns, lines] of commands) {
      for (const line of lines) await run('ip', ['-n', netns, ...line.split(' ')]);
    }
    await run('sysctl', ['-qw', 'net.ipv4.ip_forward=1'], { netns: this.node.fd });
  }
}
