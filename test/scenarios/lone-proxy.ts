import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { stringify } from 'yaml';
import { BenchNetwork, NODE_IP, POD_CIDR } from '../../src/bench/proxy/bench-network.ts';
import { NODES_PATH, RecordedApi, SERVICES_PATH, SLICES_PATH } from '../../src/bench/proxy/recorded-api.ts';
import {
  clusterIp,
  podIp,
  recordedService,
  recordedSlice,
  SERVICE_PORT,
  TARGET_PORT,
} from '../../src/bench/proxy/recorded-objects.ts';
import { run } from '../../src/kernel/exec/run.ts';
import { IpvsSocket } from '../../src/kernel/ipvs/ipvs-socket.ts';
import { listenTcp } from '../../src/kernel/netns/listen.ts';
import { withNetns } from '../../src/kernel/netns/netns.ts';
import { Ip } from '../../src/net/ip.ts';
import { eventually, FLATNET } from './lab-fixture.ts';
import { RunningLoad } from './service-load.ts';

const NODE = 'node-0';
/** For a proxy to start, where a process takes a second and more to. */
const CHOICE_LIMIT_MS = 120_000;

/**
 * `flatnet proxy`, the built command with kube-proxy's configuration, on a node without an agent: for kernels in which
 * no lab can be. One Service; its pods are sockets that are closed when a pod is gone. The API is a recorded one.
 */
export class LoneProxy {
  readonly #network: BenchNetwork;
  readonly #folder = mkdtempSync(join(tmpdir(), 'flatnet-proxy-'));
  readonly #api: RecordedApi;
  readonly #pods = new Map<number, { readonly server: Server; terminating: boolean }>();
  #nextPod = 0;
  #nextPodAtCrash = 0;
  #resourceVersion = 1_000_000;
  #kubeconfig = '';
  #process: ChildProcess | undefined;

  private constructor(network: BenchNetwork) {
    this.#network = network;
    const status = { addresses: [{ type: 'InternalIP', address: NODE_IP }] };
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: NODE, resourceVersion: '1' }, status };
    this.#api = new RecordedApi([
      { path: SERVICES_PATH, listKind: 'ServiceList', objects: single(recordedService(0)) },
      { path: SLICES_PATH, listKind: 'EndpointSliceList', objects: single(recordedSlice(0, [], 1)) },
      { path: NODES_PATH, listKind: 'NodeList', objects: new Map([[NODE, JSON.stringify(node)]]) },
    ]);
  }

  /** With so many pods, when the Service is served. */
  static async start(name: string, mode: string, pods: number): Promise<LoneProxy> {
    const proxy = new LoneProxy(await BenchNetwork.create(`fnt-${name}`));
    try {
      await proxy.#begin(mode, pods);
      return proxy;
    } catch (error) {
      await proxy.stop();
      throw error;
    }
  }

  /** A new pod, which is ready at once; returns its number. */
  addPod(): number {
    const pod = this.#nextPod;
    this.#nextPod += 1;
    const server = createServer((socket) => answer(socket, podIp(pod)));
    const address = Ip.parse(podIp(pod));
    server.listen({ fd: listenTcp(address, TARGET_PORT, { netns: this.#network.server.fd, backlog: 4096 }) });
    this.#pods.set(pod, { server, terminating: false });
    this.#tellSlice();
    return pod;
  }

  /** As when a pod is deleted: it serves for a while what still comes. */
  terminatePod(pod: number): void {
    const terminating = this.#pods.get(pod);
    if (terminating !== undefined) terminating.terminating = true;
    this.#tellSlice();
  }

  /** It is gone: what comes now is refused. */
  removePod(pod: number): void {
    this.#pods.get(pod)?.server.close();
    this.#pods.delete(pod);
    this.#tellSlice();
  }

  /** After a crash: resolves when new connections come to a pod that is newer than it. */
  async isBack(): Promise<void> {
    const newer = (pod: number): boolean => pod >= this.#nextPodAtCrash;
    await this.#choice('no pod since the crash is chosen', (chosen) => chosen.some(newer));
  }

  /** Resolves when new connections come to a pod no more. */
  async isLeftOut(pod: number): Promise<void> {
    await this.#choice(`pod ${pod} is still chosen`, (chosen) => !chosen.includes(pod));
  }

  /** Ends the proxy as a crash does, and starts it again. */
  async crash(): Promise<void> {
    const ended = this.#process && once(this.#process, 'exit');
    this.#process?.kill('SIGKILL');
    await ended;
    this.#nextPodAtCrash = this.#nextPod;
    this.#startProcess();
  }

  async switchMode(mode: string): Promise<void> {
    this.#writeConfig(mode);
    await this.#inMode(mode);
  }

  /** Runs a program on the node. */
  async exec(command: string, ...args: string[]): Promise<string> {
    return (await run(command, args, { netns: this.#network.node.fd })).stdout;
  }

  /** Calls the Service from a pod on the node. */
  async load(connectionsPerSecond: number, held = 0): Promise<RunningLoad> {
    const target = { address: clusterIp(0), port: SERVICE_PORT, connectionsPerSecond, held };
    return RunningLoad.start(target, (args) =>
      withNetns(this.#network.client.fd, () =>
        spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] }),
      ),
    );
  }

  async stop(): Promise<void> {
    if (this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null) {
      const ended = once(this.#process, 'exit');
      this.#process.kill('SIGKILL');
      await ended;
    }
    for (const { server } of this.#pods.values()) server.close();
    await this.#api.close();
    this.#network.close();
    rmSync(this.#folder, { recursive: true });
  }

  async #begin(mode: string, pods: number): Promise<void> {
    const server = await this.#api.listen(this.#network.node.fd);
    const authority = Buffer.from(this.#api.certificateAuthority).toString('base64');
    this.#kubeconfig = this.#write('kubeconfig', {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'recorded', cluster: { server, 'certificate-authority-data': authority } }],
      users: [{ name: 'proxy', user: {} }],
      contexts: [{ name: 'recorded', context: { cluster: 'recorded', user: 'proxy' } }],
      'current-context': 'recorded',
    });
    for (let pod = 0; pod < pods; pod += 1) this.addPod();
    // As a kubelet has it, which tells which variant the node uses: user-mode-linux has ip_tables alone.
    await this.exec('iptables-legacy', '-t', 'mangle', '-N', 'KUBE-IPTABLES-HINT');
    this.#writeConfig(mode);
    this.#startProcess();
    await this.#inMode(mode);
    await eventually(async () => {
      const load = await this.load(50);
      await sleep(300);
      const { failures, requests } = await load.end();
      if (failures > 0) throw new Error(`${failures} of ${requests} connections failed`);
      return true;
    });
  }

  /** Waits for the pods that the kernel chooses, in the ipvs mode; throws `otherwise` after two minutes. */
  async #choice(otherwise: string, right: (chosen: readonly number[]) => boolean): Promise<void> {
    const server = { protocol: 'TCP', address: clusterIp(0), port: SERVICE_PORT } as const;
    const ipvs = IpvsSocket.open(this.#network.node.fd);
    if (ipvs === undefined) throw new Error('the kernel has no IPVS');
    try {
      await eventually(async () => {
        const real = ipvs.realServers(server).filter(({ weight }) => weight > 0);
        const chosen = new Set(real.map(({ address }) => address));
        if (right([...this.#pods.keys()].filter((pod) => chosen.has(podIp(pod))))) return true;
        throw new Error(otherwise);
      }, CHOICE_LIMIT_MS);
    } finally {
      ipvs.close();
    }
  }

  #startProcess(): void {
    const args = [FLATNET, 'proxy', '--config', join(this.#folder, 'config.yaml')];
    this.#process = withNetns(this.#network.node.fd, () =>
      spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] }),
    );
  }

  async #inMode(mode: string): Promise<void> {
    await eventually(async () => {
      const now = await this.exec('curl', '-sS', 'http://127.0.0.1:10249/proxyMode');
      if (now !== mode) throw new Error(`the proxy is in mode ${now}, not ${mode}`);
      return true;
    }, 60_000);
  }

  #writeConfig(mode: string): void {
    this.#write('config.yaml', {
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      mode,
      clusterCIDR: POD_CIDR,
      hostnameOverride: NODE,
      clientConnection: { kubeconfig: this.#kubeconfig },
    });
  }

  #write(name: string, content: object): string {
    const path = join(this.#folder, name);
    // At once: nobody reads half a file.
    writeFileSync(`${path}.new`, stringify(content));
    renameSync(`${path}.new`, path);
    return path;
  }

  #tellSlice(): void {
    this.#resourceVersion += 1;
    const pods = [...this.#pods];
    const slice = recordedSlice(
      0,
      pods.map(([pod]) => pod),
      this.#resourceVersion,
    );
    const endpoints = slice.endpoints.map((endpoint, index): EndpointSlice['endpoints'][0] => {
      const terminating = pods[index]?.[1].terminating === true;
      return { ...endpoint, conditions: { ready: !terminating, serving: true, terminating } };
    });
    this.#api.modify(SLICES_PATH, 'one', JSON.stringify({ ...slice, endpoints }));
  }
}

const single = (object: object): Map<string, string> => new Map([['one', JSON.stringify(object)]]);

/** HTTP, as far as load-client.mjs speaks it. */
function answer(socket: Socket, name: string): void {
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    const close = chunk.includes('Connection: close');
    const text = `HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`;
    if (close) socket.end(text);
    else socket.write(text);
  });
}
