import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, type RunResult } from '../../../kernel/exec/run.ts';
import { LinuxRouteKernel } from '../../../kernel/netlink/apply.ts';
import { createNetns, deleteNetns, Netns, netnsPath } from '../../../kernel/netns/netns.ts';
import { createLogger } from '../../../log/logger.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import { Mac } from '../../../net/mac.ts';
import { PodNetwork } from '../../pod-network.ts';
import type { LocalNode } from '../backend.ts';
import { UdpDriver } from './driver.ts';
import { udpSchema } from './settings.ts';
import { UdpBackend } from './udp.ts';
import { WorkerClient } from './worker-client.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..', '..');

/** The folder of the worker's executable, which is built there; remove it in the end. */
export async function buildWorker(): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'fnt-udp-'));
  const source = join(import.meta.dirname, 'worker', 'flatnet-udp.c');
  const flags = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-O2', '-fno-strict-aliasing', '-g'];
  await run('cc', [...flags, '-o', join(folder, 'flatnet-udp'), source], { cwd: ROOT });
  return folder;
}

const name = (index: number) =>
  [`fnt-udp${process.pid}-n${index}`, `fnt-udp${process.pid}-p${index}`] as const;

/** Two nodes on one Ethernet with a pod each; a node's pod network is an agent that can end and start again. */
export class UdpNode {
  readonly index: number;
  readonly netns: Netns;
  readonly kernel: LinuxRouteKernel;
  readonly pod: Netns;
  readonly podIp: string;
  readonly client: WorkerClient;
  readonly #folder: string;
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  private constructor(index: number, folder: string, names: readonly [string, string]) {
    this.index = index;
    this.#folder = folder;
    for (const name of names) createNetns(name);
    this.netns = Netns.named(names[0]);
    this.pod = Netns.named(names[1]);
    this.kernel = LinuxRouteKernel.open(this.netns.fd);
    this.podIp = `10.244.${index}.2`;
    this.client = new WorkerClient(this.socketPath);
  }

  static async pair(folder: string): Promise<[UdpNode, UdpNode]> {
    const nodes: [UdpNode, UdpNode] = [new UdpNode(1, folder, name(1)), new UdpNode(2, folder, name(2))];
    await nodes[0].ip(`link add eth0 type veth peer name eth0 netns ${netnsPath(name(2)[0])}`);
    for (const node of nodes) await node.#connect(netnsPath(name(node.index)[1]));
    return nodes;
  }

  get socketPath(): string {
    return join(this.#folder, `udp-flannel0-${this.netns.inode}.sock`);
  }

  /** Starts what an agent does for its pod network, and waits until it has. */
  startAgent(port = 8285, underlayMtu = 1500): PodNetwork {
    const backend = new UdpBackend(udpSchema.parse({ Type: 'udp', Port: port }));
    const driver = new UdpDriver({
      route: this.kernel,
      program: join(this.#folder, 'flatnet-udp'),
      netns: this.netns.fd,
      folder: this.#folder,
    });
    const network = new PodNetwork({
      kernel: this.kernel,
      logger: createLogger('test', 'fatal'),
      onProblems: () => undefined,
      onUnderlayChange: () => undefined,
    });
    network.setLocal(this.#local(underlayMtu), { backends: [backend], drivers: [driver] });
    const there = 3 - this.index;
    network.setPeer({
      node: `node-${there}`,
      offers: [{ type: 'udp', data: new Map() }],
      families: new Map([
        [4, { podCidr: Cidr.parse(`10.244.${there}.0/24`), publicIp: Ip.parse(`172.30.0.${there}`) }],
      ]),
    });
    network.allowPrune();
    this.#stop = new AbortController();
    this.#running = network.run(this.#stop.signal);
    return network;
  }

  async stopAgent(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** ip(8) in the node. */
  async ip(words: string): Promise<string> {
    return (await run('ip', words.split(' '), { netns: this.netns.fd })).stdout;
  }

  /** ping(8) from the pod: what it says, also when nothing comes back. */
  async ping(words: string): Promise<string> {
    const ended = run('ping', words.split(' '), { netns: this.pod.fd });
    return ended.then(
      ({ stdout }: RunResult) => stdout,
      (error: RunResult) => error.stdout + error.stderr,
    );
  }

  async close(): Promise<void> {
    await this.stopAgent();
    this.client.end('remove');
    this.kernel.close();
    this.netns.close();
    this.pod.close();
    for (const each of name(this.index)) deleteNetns(each);
  }

  static removeFolder(folder: string): void {
    rmSync(folder, { recursive: true, force: true });
  }

  #local(mtu: number): LocalNode {
    const podCidr = Cidr.parse(`10.244.${this.index}.0/24`);
    const ip = Ip.parse(`172.30.0.${this.index}`);
    const family = {
      podCidr,
      network: Cidr.parse('10.244.0.0/16'),
      ip,
      vtepMac: Mac.parse('02:00:00:00:00:01'),
    };
    return {
      name: `node-${this.index}`,
      underlay: { device: 'eth0', mtu, onLink: [Cidr.parse('172.30.0.0/24')] },
      families: new Map([[4, family]]),
    };
  }

  async #connect(pod: string): Promise<void> {
    await run('sysctl', ['-qw', 'net.ipv4.ip_forward=1'], { netns: this.netns.fd });
    for (const words of [
      'link set lo up',
      `address add 172.30.0.${this.index}/24 dev eth0`,
      'link set eth0 up',
      `link add pod0 mtu 1472 type veth peer name eth0 mtu 1472 netns ${pod}`,
      `address add 10.244.${this.index}.1/24 dev pod0`,
      'link set pod0 up',
    ])
      await this.ip(words);
    for (const words of [
      `address add ${this.podIp}/24 dev eth0`,
      'link set eth0 up',
      `route add default via 10.244.${this.index}.1`,
    ])
      await run('ip', words.split(' '), { netns: this.pod.fd });
  }
}
