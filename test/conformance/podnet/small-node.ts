import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { vi } from 'vitest';
import { run, type RunResult } from '../../../src/kernel/exec/run.ts';
import { LinuxRouteKernel } from '../../../src/kernel/netlink/apply.ts';
import { listenTcp } from '../../../src/kernel/netns/listen.ts';
import { deleteNetns, Netns, netnsPath, withNetns } from '../../../src/kernel/netns/netns.ts';
import { Ip } from '../../../src/net/ip.ts';
import type { Place } from './small-fabric.ts';

/** What a node has to know of the cluster it belongs to. */
export interface NodeSurroundings {
  readonly folder: string;
  /** Where the built command is. */
  readonly dist: string;
  readonly kubeconfig: string;
  readonly network: object;
  /** More fields of the agents' configuration. */
  readonly agent: object;
  createNamespace(name: string): void;
}

export interface PluginAnswer {
  readonly exitCode: number;
  readonly json: Record<string, unknown> | undefined;
}

/** A node: a network namespace on the underlay with an agent process, as production starts it, and own folders. */
export class SmallNode {
  readonly name: string;
  readonly folder: string;
  readonly place: Place;
  readonly index: number;
  readonly pods = new Map<string, readonly string[]>();
  #netns: Netns;
  #kernel: LinuxRouteKernel;
  #agent: ChildProcess | undefined;
  readonly #cluster: NodeSurroundings;

  constructor(cluster: NodeSurroundings, index: number, place: Place) {
    this.#cluster = cluster;
    this.index = index;
    this.name = `node-${index}`;
    this.folder = join(cluster.folder, this.name);
    this.place = place;
    this.#netns = Netns.named(place.namespace);
    this.#kernel = LinuxRouteKernel.open(this.#netns.fd);
    mkdirSync(this.folder);
  }

  get netns(): Netns {
    return this.#netns;
  }

  get kernel(): LinuxRouteKernel {
    return this.#kernel;
  }

  get ip(): string {
    return this.place.v4;
  }

  /** All that the node has, of its devices and bridge too. */
  get ips(): string[] {
    return this.#kernel.addresses().map(({ ip }) => ip.toString());
  }

  get agentPid(): number {
    return this.#agent?.pid ?? 0;
  }

  startAgent(changes: object = {}): void {
    const { folder } = this;
    const config = {
      apiVersion: 'flatnet.dev/v1alpha1',
      kind: 'AgentConfiguration',
      network: this.#cluster.network,
      serviceCIDRs: ['10.96.0.0/16'],
      ...this.#cluster.agent,
      subnetFile: join(folder, 'subnet.env'),
      cni: {
        confDir: join(folder, 'net.d'),
        binDir: join(folder, 'bin'),
        dataDir: join(folder, 'networks'),
        socketPath: join(folder, 'cni.sock'),
      },
      ...changes,
    };
    writeFileSync(join(folder, 'agent.yaml'), JSON.stringify(config));
    const log = openSync(join(folder, 'agent.log'), 'a');
    const args = [join(this.#cluster.dist, 'flatnet.js'), 'agent', '--node-name', this.name];
    args.push('--kubeconfig', this.#cluster.kubeconfig, '--config', join(folder, 'agent.yaml'));
    const sockets = join(folder, 'wireguard');
    mkdirSync(sockets, { recursive: true });
    // wireguard-go has its sockets at a fixed place, which is each machine's own: a mount that only the agent sees.
    const script = 'mkdir -p /run/wireguard && mount --bind "$0" /run/wireguard && exec "$@"';
    const command = ['--mount', '--propagation', 'slave', 'sh', '-c', script, sockets, process.execPath];
    const env = { ...process.env, WIREGUARD_KEY_FILE: join(folder, 'wgkey') };
    this.#agent = withNetns(this.netns.fd, () =>
      spawn('unshare', [...command, ...args], { stdio: ['ignore', log, log], env }),
    );
  }

  /** Returns its exit code; null when the signal ended it, or when there was none. */
  async stopAgent(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    this.#agent?.kill(signal);
    return this.agentEnd();
  }

  /** Awaits that the agent ends by itself, or of a signal that it was sent. */
  async agentEnd(): Promise<number | null> {
    const agent = this.#agent;
    if (agent === undefined) return null;
    if (agent.exitCode === null && agent.signalCode === null) await once(agent, 'exit');
    this.#agent = undefined;
    return agent.exitCode;
  }

  get log(): string {
    return readFileSync(join(this.folder, 'agent.log'), 'utf8');
  }

  file(...path: string[]): string {
    return readFileSync(join(this.folder, ...path), 'utf8');
  }

  /** GET on the agent's own HTTP server, from inside the node. */
  async http(path: string, port = 10256): Promise<string> {
    const { stdout } = await this.run('curl', ['-s', '--max-time', '5', `http://127.0.0.1:${port}${path}`]);
    return stdout;
  }

  async ready(timeout = 60_000): Promise<void> {
    await vi.waitFor(
      async () => {
        const text = await this.http('/readyz').catch(String);
        if (text !== 'ok') throw new Error(`${this.name} is not ready: ${text}\n${this.log}`);
      },
      { timeout, interval: 50 },
    );
  }

  /** Takes a port of the node's loopback; call the result to give it back. */
  occupy(port: number): () => void {
    const fd = listenTcp(Ip.parse('127.0.0.1'), port, { netns: this.netns.fd });
    return () => closeSync(fd);
  }

  async run(command: string, args: readonly string[]): Promise<RunResult> {
    return run(command, args, { netns: this.netns.fd });
  }

  /** Executes the installed plugin as a container runtime does. */
  async plugin(
    command: string,
    pod: string,
    config: object = {},
    environment: object = {},
  ): Promise<PluginAnswer> {
    const socketPath = join(this.folder, 'cni.sock');
    const input = JSON.stringify({
      cniVersion: '1.0.0',
      name: 'cbr0',
      type: 'flatnet',
      socketPath,
      ...config,
    });
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod,
      CNI_NETNS: netnsPath(pod),
      CNI_IFNAME: 'eth0',
      CNI_PATH: join(this.folder, 'bin'),
      ...environment,
    };
    const { stdout, exitCode } = await run(join(this.folder, 'bin', 'flatnet'), [], { input, env }).then(
      ({ stdout }) => ({ stdout, exitCode: 0 }),
      (error: { stdout: string; exitCode: number }) => error,
    );
    return { exitCode, json: stdout === '' ? undefined : (JSON.parse(stdout) as Record<string, unknown>) };
  }

  /** A pod: a namespace and an ADD. Returns its first address. */
  async addPod(pod: string): Promise<string> {
    const [first = ''] = await this.addPodOfAllFamilies(pod);
    return first;
  }

  /** As `addPod`; returns all its addresses, IPv4 first. */
  async addPodOfAllFamilies(pod: string): Promise<readonly string[]> {
    this.#cluster.createNamespace(pod);
    const { exitCode, json } = await this.plugin('ADD', pod);
    if (exitCode !== 0) throw new Error(`ADD of ${pod}: ${JSON.stringify(json)}\n${this.log}`);
    const ips = ((json?.['ips'] ?? []) as { address: string }[]).map(
      ({ address }) => address.split('/')[0] ?? '',
    );
    const sorted = ips.sort((a, b) => Number(a.includes(':')) - Number(b.includes(':')));
    this.pods.set(pod, sorted);
    return sorted;
  }

  /**
   * What a power cut and a boot do: processes, namespaces and what is in memory (/run) go, disks stay. `plug` puts the
   * machine on its network again. The agent is left to the caller.
   */
  async reboot(plug: () => void): Promise<void> {
    await this.stopAgent('SIGKILL');
    for (const pod of this.pods.keys()) deleteNetns(pod);
    this.pods.clear();
    this.close();
    deleteNetns(this.place.namespace);
    for (const file of ['subnet.env', 'flatnet-node.json', 'cni.sock', 'wgkey', 'wireguard'])
      rmSync(join(this.folder, file), { force: true, recursive: true });
    this.#cluster.createNamespace(this.place.namespace);
    plug();
    this.#netns = Netns.named(this.place.namespace);
    this.#kernel = LinuxRouteKernel.open(this.#netns.fd);
  }

  /** Ends what the agent has started in the node (workers of tunnels), which outlives it on purpose. */
  endProcesses(): void {
    const here = `net:[${this.#netns.inode}]`;
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        if (readlinkSync(`/proc/${pid}/ns/net`) === here) process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It ended meanwhile.
      }
    }
  }

  close(): void {
    this.endProcesses();
    this.#kernel.close();
    this.#netns.close();
  }
}
