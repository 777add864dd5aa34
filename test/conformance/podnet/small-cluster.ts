import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { ApiClient } from '../../../src/cluster/api-client.ts';
import { loadKubeconfig } from '../../../src/cluster/kubeconfig.ts';
import { NODES } from '../../../src/cluster/resource-type.ts';
import { run, type RunResult } from '../../../src/kernel/exec/run.ts';
import { LinuxRouteKernel } from '../../../src/kernel/netlink/apply.ts';
import { listenTcp } from '../../../src/kernel/netns/listen.ts';
import { createNetns, deleteNetns, Netns, netnsPath, withNetns } from '../../../src/kernel/netns/netns.ts';
import { ApiServer } from '../../../src/lab/apiserver/api-server.ts';
import { CertificateAuthority } from '../../../src/lab/apiserver/pki/certificate-authority.ts';
import { Ip } from '../../../src/net/ip.ts';

const API_HOST = '172.30.0.254';
const TOKEN = 'small-cluster';

export interface SmallClusterOptions {
  readonly backend: object;
  readonly nodes: number;
  readonly dualStack?: boolean;
}

export interface PluginAnswer {
  readonly exitCode: number;
  readonly json: Record<string, unknown> | undefined;
}

/** A node: a network namespace on the underlay with an agent process, as production starts it, and own folders. */
export class SmallNode {
  readonly name: string;
  readonly folder: string;
  readonly netns: Netns;
  readonly kernel: LinuxRouteKernel;
  readonly index: number;
  #agent: ChildProcess | undefined;
  readonly #cluster: SmallCluster;

  constructor(cluster: SmallCluster, index: number, netns: Netns) {
    this.#cluster = cluster;
    this.index = index;
    this.name = `node-${index}`;
    this.folder = join(cluster.folder, this.name);
    this.netns = netns;
    this.kernel = LinuxRouteKernel.open(netns.fd);
    mkdirSync(this.folder);
  }

  get ip(): string {
    return `172.30.0.${this.index}`;
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
    this.#agent = withNetns(this.netns.fd, () =>
      spawn(process.execPath, args, { stdio: ['ignore', log, log] }),
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

  async ready(): Promise<void> {
    await vi.waitFor(
      async () => {
        const text = await this.http('/readyz').catch(String);
        if (text !== 'ok') throw new Error(`${this.name} is not ready: ${text}\n${this.log}`);
      },
      { timeout: 10_000, interval: 20 },
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
    this.#cluster.createNamespace(pod);
    const { exitCode, json } = await this.plugin('ADD', pod);
    if (exitCode !== 0) throw new Error(`ADD of ${pod}: ${JSON.stringify(json)}\n${this.log}`);
    const [first] = (json?.['ips'] ?? []) as { address: string }[];
    return first?.address.split('/')[0] ?? '';
  }
}

/** Within the project: the bundle looks for koffi in node_modules above it. */
const DIST = join(import.meta.dirname, '..', '..', '..', '.cache', `small-cluster-${process.pid}`);
let built: Promise<unknown> | undefined;

/** The command as users have it, built once for all clusters of a test file. */
async function buildOnce(): Promise<void> {
  built ??= run(process.execPath, ['scripts/build.mjs', DIST], { timeoutMs: 60_000 });
  await built;
}

/** For the end of a test file. */
export function removeBuild(): void {
  rmSync(DIST, { recursive: true, force: true });
}

/** Nodes on one Ethernet, with the embedded API server at a fourth place on it. */
export class SmallCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'fnt-cluster-'));
  readonly kubeconfig = join(this.folder, 'kubeconfig');
  readonly dist = DIST;
  readonly nodes: SmallNode[] = [];
  readonly network: object;
  readonly #namespaces: string[] = [];
  readonly #prefix = `fnt-pn${process.pid}`;
  readonly #authority = CertificateAuthority.create();
  #server: ApiServer | undefined;
  #client: ApiClient | undefined;
  #fabric: Netns | undefined;

  readonly #dualStack: boolean;

  private constructor(options: SmallClusterOptions) {
    this.#dualStack = options.dualStack === true;
    const v6 = options.dualStack === true ? { EnableIPv6: true, IPv6Network: 'fd00:10:244::/56' } : {};
    this.network = { Network: '10.244.0.0/16', ...v6, Backend: options.backend };
  }

  static async start(options: SmallClusterOptions): Promise<SmallCluster> {
    const cluster = new SmallCluster(options);
    try {
      await buildOnce();
      cluster.#buildFabric();
      cluster.addNodes(options.nodes);
      await cluster.startApi();
      for (const node of cluster.nodes) await cluster.register(node);
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get client(): ApiClient {
    if (this.#client === undefined) throw new Error('the API server does not run');
    return this.#client;
  }

  node(index: number): SmallNode {
    const node = this.nodes[index - 1];
    if (node === undefined) throw new Error(`there is no node ${index}`);
    return node;
  }

  async startApi(): Promise<void> {
    const netns = this.#fabric?.fd ?? 0;
    this.#server = await ApiServer.start({
      listen: [{ fd: listenTcp(Ip.parse(API_HOST), 6443, { netns }) }, { host: '127.0.0.1', port: 0 }],
      advertise: { host: API_HOST, port: 6443 },
      // The same as before a stop: clients go on trusting it.
      authority: this.#authority,
      serviceCidrs: ['10.96.0.0/16'],
      tokens: new Map([[TOKEN, { username: 'admin', groups: ['system:masters'] }]]),
    });
    writeFileSync(this.kubeconfig, this.#kubeconfig(`https://${API_HOST}:6443`));
    const local = join(this.folder, 'kubeconfig-here');
    writeFileSync(local, this.#kubeconfig(`https://127.0.0.1:${this.#server.addresses[1]?.port ?? 0}`));
    this.#client = new ApiClient(await loadKubeconfig(local));
  }

  async stopApi(): Promise<void> {
    await this.#client?.close();
    await this.#server?.close();
    this.#server = undefined;
  }

  createNamespace(name: string): void {
    createNetns(name);
    this.#namespaces.push(name);
  }

  /** More machines on the underlay, not registered yet. */
  addNodes(count: number): SmallNode[] {
    const first = this.nodes.length + 1;
    const fabric = LinuxRouteKernel.open(this.#fabric?.fd);
    const bridge = fabric.link('underlay')?.index ?? 0;
    for (let index = first; index < first + count; index += 1) {
      const name = `${this.#prefix}-node${index}`;
      this.createNamespace(name);
      const netns = Netns.named(name);
      fabric.addLink({
        kind: 'veth',
        name: `to-node${index}`,
        master: bridge,
        up: true,
        peer: { name: 'eth0', netns: netns.fd },
      });
      const node = new SmallNode(this, index, netns);
      this.nodes.push(node);
      for (const device of ['lo', 'eth0'])
        node.kernel.changeLink(node.kernel.link(device)?.index ?? 0, { up: true });
      const link = node.kernel.link('eth0')?.index ?? 0;
      node.kernel.addAddress({ link, ip: Ip.parse(node.ip), prefixLength: 24 });
      node.kernel.addAddress({ link, ip: Ip.parse(`fd00:30::${index}`), prefixLength: 64, noDad: true });
    }
    fabric.close();
    return this.nodes.slice(first - 1);
  }

  /** Runs a program in a pod's (or any named) namespace; returns what it printed. */
  async inside(namespace: string, command: string, ...args: string[]): Promise<string> {
    const netns = Netns.named(namespace);
    try {
      return (await run(command, args, { netns: netns.fd })).stdout;
    } finally {
      netns.close();
    }
  }

  podName(name: string): string {
    return `${this.#prefix}-${name}`;
  }

  async stop(): Promise<void> {
    await Promise.all(this.nodes.map(async (node) => node.stopAgent('SIGKILL')));
    await this.stopApi();
    for (const { kernel, netns } of this.nodes) {
      kernel.close();
      netns.close();
    }
    this.#fabric?.close();
    for (const name of this.#namespaces) deleteNetns(name);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #buildFabric(): void {
    const fabricName = `${this.#prefix}-fabric`;
    this.createNamespace(fabricName);
    this.#fabric = Netns.named(fabricName);
    const fabric = LinuxRouteKernel.open(this.#fabric.fd);
    const bridge = fabric.addLink({ kind: 'bridge', name: 'underlay', up: true })?.index ?? 0;
    fabric.addAddress({ link: bridge, ip: Ip.parse(API_HOST), prefixLength: 24 });
    fabric.addAddress({ link: bridge, ip: Ip.parse('fd00:30::fe'), prefixLength: 64, noDad: true });
    fabric.close();
  }

  /** Makes the Node object, as kubelet and controller manager do. */
  async register(node: SmallNode): Promise<void> {
    const dualStack = this.#dualStack;
    const podCIDRs = [`10.244.${node.index}.0/24`, ...(dualStack ? [`fd00:10:244:${node.index}::/64`] : [])];
    await this.client.create(NODES, {
      metadata: { name: node.name },
      spec: { podCIDR: podCIDRs[0] ?? '', podCIDRs },
    });
    const addresses = [{ type: 'InternalIP', address: node.ip }];
    if (dualStack) addresses.push({ type: 'InternalIP', address: `fd00:30::${node.index}` });
    const body = { status: { addresses } };
    await this.client.patch(
      NODES,
      { name: node.name },
      { type: 'strategic', body },
      { subresource: 'status' },
    );
  }

  #kubeconfig(server: string): string {
    const ca = Buffer.from(this.#authority.certificate).toString('base64');
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'small',
      clusters: [{ name: 'small', cluster: { server, 'certificate-authority-data': ca } }],
      users: [{ name: 'admin', user: { token: TOKEN } }],
      contexts: [{ name: 'small', context: { cluster: 'small', user: 'admin' } }],
    });
  }
}
