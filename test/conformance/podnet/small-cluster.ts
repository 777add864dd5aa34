import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiClient } from '../../../src/cluster/api-client.ts';
import { loadKubeconfig } from '../../../src/cluster/kubeconfig.ts';
import { NODES } from '../../../src/cluster/resource-type.ts';
import { run } from '../../../src/kernel/exec/run.ts';
import { listenTcp } from '../../../src/kernel/netns/listen.ts';
import { createNetns, deleteNetns, Netns } from '../../../src/kernel/netns/netns.ts';
import { ApiServer } from '../../../src/lab/apiserver/api-server.ts';
import { CertificateAuthority } from '../../../src/lab/apiserver/pki/certificate-authority.ts';
import { Ip } from '../../../src/net/ip.ts';
import { SmallFabric } from './small-fabric.ts';
import { SmallNode } from './small-node.ts';

export type { SmallNode } from './small-node.ts';

/** Of the API server, which is also the router where there is one. */
export const API_HOST = '172.30.0.254';
const TOKEN = 'small-cluster';

export interface SmallClusterOptions {
  readonly backend: object;
  readonly nodes: number;
  readonly dualStack?: boolean;
  /** From this node on, nodes stand on a second subnet, behind a router that also leads to a host outside. */
  readonly farFrom?: number;
  /** More fields of the agents' configuration. */
  readonly agent?: object;
}

/** Told where nothing can be written (a machine of its own kernel), and where it has just been built. */
const GIVEN = process.env['FLATNET_SMALL_CLUSTER_DIST'];
/** Within the project: the bundle looks for koffi in node_modules above it. */
export const DIST =
  GIVEN ?? join(import.meta.dirname, '..', '..', '..', '.cache', `small-cluster-${process.pid}`);
let built: Promise<unknown> | undefined;

/** The command as users have it, built once for all clusters of a test file. */
export async function buildOnce(): Promise<void> {
  if (GIVEN !== undefined) return;
  built ??= run(process.execPath, ['scripts/build.mjs', DIST], { timeoutMs: 60_000 });
  await built;
}

/** For the end of a test file. */
export function removeBuild(): void {
  if (GIVEN === undefined) rmSync(DIST, { recursive: true, force: true });
}

/** A cluster that could not be stopped must not keep the next of the file from starting. */
let count = 0;

/** Nodes on one Ethernet, with the embedded API server at a fourth place on it. */
export class SmallCluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'fnt-cluster-'));
  readonly kubeconfig = join(this.folder, 'kubeconfig');
  readonly dist = DIST;
  readonly nodes: SmallNode[] = [];
  readonly network: object;
  readonly agent: object;
  readonly #namespaces = new Set<string>();
  readonly #prefix: string;
  readonly #authority = CertificateAuthority.create();
  #server: ApiServer | undefined;
  #client: ApiClient | undefined;
  #fabric: SmallFabric | undefined;
  readonly #dualStack: boolean;
  readonly #farFrom: number;

  private constructor(options: SmallClusterOptions) {
    count += 1;
    this.#prefix = `fnt-pn${process.pid}${count === 1 ? '' : `-${count}`}`;
    this.#dualStack = options.dualStack === true;
    this.#farFrom = options.farFrom ?? Infinity;
    this.agent = options.agent ?? {};
    const v6 = options.dualStack === true ? { EnableIPv6: true, IPv6Network: 'fd00:10:244::/56' } : {};
    this.network = { Network: '10.244.0.0/16', ...v6, Backend: options.backend };
  }

  static async start(options: SmallClusterOptions): Promise<SmallCluster> {
    const cluster = new SmallCluster(options);
    try {
      await buildOnce();
      cluster.#buildFabric(options.farFrom !== undefined);
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

  get fabric(): SmallFabric {
    if (this.#fabric === undefined) throw new Error('there is no network');
    return this.#fabric;
  }

  node(index: number): SmallNode {
    const node = this.nodes[index - 1];
    if (node === undefined) throw new Error(`there is no node ${index}`);
    return node;
  }

  async startApi(): Promise<void> {
    const netns = this.fabric.netns.fd;
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
    this.#namespaces.add(name);
  }

  /** More machines on the underlay, not registered yet. */
  addNodes(count: number): SmallNode[] {
    const first = this.nodes.length + 1;
    for (let index = first; index < first + count; index += 1) {
      const subnet = index >= this.#farFrom ? 31 : 30;
      const place = {
        index,
        namespace: `${this.#prefix}-node${index}`,
        v4: `172.${subnet}.0.${index}`,
        v6: `fd00:${subnet}::${index}`,
        subnet,
      } as const;
      this.createNamespace(place.namespace);
      this.fabric.plug(place);
      this.nodes.push(new SmallNode(this, index, place));
    }
    return this.nodes.slice(first - 1);
  }

  async reboot(node: SmallNode): Promise<void> {
    await node.reboot(() => this.fabric.plug(node.place));
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
    for (const node of this.nodes) node.close();
    this.#fabric?.close();
    for (const name of this.#namespaces) deleteNetns(name);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #buildFabric(routed: boolean): void {
    const name = this.podName('fabric');
    this.createNamespace(name);
    this.#fabric = new SmallFabric(name, routed);
    if (!routed) return;
    this.createNamespace(this.podName('world'));
    this.#fabric.addWorld(this.podName('world'));
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
    if (dualStack) addresses.push({ type: 'InternalIP', address: node.place.v6 });
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
