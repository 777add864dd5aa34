import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { run } from '../../../src/kernel/exec/run.ts';
import { createNetns, deleteNetns, Netns, withNetns } from '../../../src/kernel/netns/netns.ts';

export interface CallResult {
  /** Name of the host that answered and the address it saw; undefined when none did. */
  readonly reply?: string;
  readonly error?: string;
  readonly ms: number;
}

export interface CallOptions {
  readonly protocol?: 'TCP' | 'UDP';
  readonly localPort?: number;
  /** Name of a TCP connection that stays open; port 7 must be at its other end. */
  readonly connection?: string;
  readonly timeoutMs?: number;
}

/** A namespace with a process that answers and calls. */
export class Host {
  readonly name: string;
  readonly netns: Netns;
  readonly namespace: string;
  readonly #pending = new Map<number, (result: CallResult) => void>();
  #process: ChildProcess | undefined;
  #nextId = 1;

  constructor(prefix: string, name: string) {
    this.name = name;
    this.namespace = `${prefix}-${name}`;
    deleteNetns(this.namespace);
    createNetns(this.namespace);
    this.netns = Netns.named(this.namespace);
  }

  async start(ports: readonly number[]): Promise<void> {
    const script = join(import.meta.dirname, 'peer.mjs');
    const child = withNetns(this.netns.fd, () =>
      spawn(process.execPath, [script, this.name, ...ports.map(String)], {
        stdio: ['pipe', 'pipe', 'inherit'],
      }),
    );
    this.#process = child;
    const lines = createInterface({ input: child.stdout });
    const ready = once(lines, 'line');
    lines.on('line', (line) => {
      const { id, ...result } = JSON.parse(line) as CallResult & { id: number };
      this.#pending.get(id)?.(result);
      this.#pending.delete(id);
    });
    await ready;
  }

  async call(host: string, port: number, options: CallOptions = {}): Promise<CallResult> {
    const id = this.#nextId;
    this.#nextId += 1;
    const request = { id, host, port, timeoutMs: 2000, ...options };
    return await new Promise((resolve) => {
      this.#pending.set(id, resolve);
      this.#process?.stdin?.write(`${JSON.stringify(request)}\n`);
    });
  }

  async stop(): Promise<void> {
    if (this.#process !== undefined && this.#process.exitCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGKILL');
      await ended;
    }
    this.netns.close();
    deleteNetns(this.namespace);
  }
}

/**
 * A node with two pods behind a bridge, a second node with one pod, and a machine that is neither; all on one wire.
 * Only the first node has a proxy.
 */
export class ProxyNetwork {
  readonly wire: Host;
  readonly node: Host;
  readonly podA: Host;
  readonly podB: Host;
  /** The other node, 10.250.0.2, and the pod on it, 10.244.2.10, in one. */
  readonly remote: Host;
  readonly outside: Host;

  constructor(prefix: string) {
    const host = (name: string): Host => new Host(prefix, name);
    [this.wire, this.node, this.podA] = [host('wire'), host('node'), host('pod-a')];
    [this.podB, this.remote, this.outside] = [host('pod-b'), host('remote'), host('outside')];
  }

  get hosts(): Host[] {
    return [this.wire, this.node, this.podA, this.podB, this.remote, this.outside];
  }

  async start(): Promise<void> {
    const { wire, node, podA, podB, remote, outside } = this;
    await ip(wire, ['link add br0 type bridge', 'link set br0 up']);
    await this.#attach(wire, node, 'br0', 'eth0', ['10.250.0.1/24', 'fd00:250::1/64']);
    await this.#attach(wire, remote, 'br0', 'eth0', ['10.250.0.2/24', 'fd00:250::2/64']);
    await this.#attach(wire, outside, 'br0', 'eth0', ['10.250.0.3/24', 'fd00:250::3/64']);
    await ip(node, [
      'link add cni0 type bridge',
      'link set cni0 up',
      'addr add 10.244.1.1/24 dev cni0',
      'addr add fd00:10:244:1::1/64 dev cni0 nodad',
    ]);
    await this.#attach(node, podA, 'cni0', 'eth0', ['10.244.1.10/24', 'fd00:10:244:1::10/64']);
    await this.#attach(node, podB, 'cni0', 'eth0', ['10.244.1.11/24', 'fd00:10:244:1::11/64']);
    for (const pod of [podA, podB]) {
      await ip(pod, ['route add default via 10.244.1.1', '-6 route add default via fd00:10:244:1::1']);
    }
    await ip(remote, ['addr add 10.244.2.10/32 dev lo', '-6 addr add fd00:10:244:2::10/128 dev lo']);
    await ip(node, [
      'route add 10.244.2.0/24 via 10.250.0.2',
      '-6 route add fd00:10:244:2::/64 via fd00:250::2',
      // As every node has one: without it packets to a service address are unroutable before any rule sees them.
      'route add default via 10.250.0.3',
      '-6 route add default via fd00:250::3',
    ]);
    // Its pod answers UDP by its own address.
    await ip(remote, [
      'route add default via 10.250.0.1 src 10.244.2.10',
      '-6 route add default via fd00:250::1',
    ]);
    await ip(outside, ['route add default via 10.250.0.1', '-6 route add default via fd00:250::1']);
    const forward = [
      'net.ipv4.ip_forward=1',
      'net.ipv6.conf.all.forwarding=1',
      'net.ipv4.conf.all.rp_filter=0',
    ];
    await run('sysctl', ['-qw', ...forward], { netns: node.netns.fd });
    await Promise.all([
      ...[podA, podB, remote].map(async (host) => host.start([8080, 53, 7])),
      node.start([9090]),
      outside.start([]),
    ]);
  }

  async stop(): Promise<void> {
    await Promise.all(this.hosts.map(async (host) => host.stop()));
  }

  async #attach(
    switchHost: Host,
    host: Host,
    bridge: string,
    device: string,
    addresses: readonly string[],
  ): Promise<void> {
    const port = `v-${host.name}`;
    await ip(switchHost, [
      `link add ${port} type veth peer name ${device} netns ${host.namespace}`,
      `link set ${port} master ${bridge} up`,
      // As the bridge plugin does for pods (hairpinMode): where br_netfilter is on, a pod that calls itself through a
      // Service is translated within the bridge and has to leave through the port that it came in by.
      `link set ${port} type bridge_slave hairpin ${bridge === 'cni0' ? 'on' : 'off'}`,
    ]);
    await ip(host, [
      'link set lo up',
      `link set ${device} up`,
      ...addresses.map(
        (address) => `addr add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`,
      ),
    ]);
  }
}

async function ip(host: Host, commands: readonly string[]): Promise<void> {
  for (const command of commands) await run('ip', ['-n', host.namespace, ...command.split(' ')]);
}
