import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ApiClient } from '../../src/cluster/api-client.ts';
import { loadKubeconfig } from '../../src/cluster/kubeconfig.ts';
import { ENDPOINT_SLICES, NODES, SERVICES } from '../../src/cluster/resource-type.ts';
import { run } from '../../src/kernel/exec/run.ts';
import { listenTcp } from '../../src/kernel/netns/listen.ts';
import { createNetns, deleteNetns, Netns, withNetns } from '../../src/kernel/netns/netns.ts';
import { ApiServer } from '../../src/lab/apiserver/api-server.ts';
import { Ip } from '../../src/net/ip.ts';
import { FLATNET } from './lab-fixture.ts';

const TOKEN = 'proxy-machine';
const WEB_SERVER = 'busybox';
const NODE_IP = '192.0.2.10';
const POD_IP = '10.244.7.5';
const FIXTURES = join(import.meta.dirname, '..', '..', 'src', 'proxy', 'config', 'fixtures');

/**
 * A machine with nothing but the built `flatnet proxy` on it: a network namespace with an API server in it, one pod
 * behind it, and kube-proxy's folder with the file and the kubeconfig that kubeadm writes.
 */
export class ProxyMachine {
  readonly folder = mkdtempSync(join(tmpdir(), 'fnt-proxy-'));
  readonly #name = `fnt-pm-${process.pid}`;
  readonly #pod = `fnt-pp-${process.pid}`;
  readonly #netns: Netns;
  readonly #server: ChildProcess;
  #api: ApiServer | undefined;
  #client: ApiClient | undefined;
  #proxy: ChildProcess | undefined;

  private constructor() {
    createNetns(this.#name);
    createNetns(this.#pod);
    this.#netns = Netns.named(this.#name);
    cpSync(join(FIXTURES, 'kubeadm-1.36.yaml'), this.configFile);
    const pod = Netns.named(this.#pod);
    this.#server = withNetns(pod.fd, () =>
      spawn(WEB_SERVER, ['httpd', '-f', '-p', '8080', '-h', this.folder], { stdio: 'ignore' }),
    );
    pod.close();
  }

  static async start(): Promise<ProxyMachine> {
    const machine = new ProxyMachine();
    try {
      await machine.#wire();
      await machine.#startApi();
      return machine;
    } catch (error) {
      await machine.stop();
      throw error;
    }
  }

  get configFile(): string {
    return join(this.folder, 'config.conf');
  }

  get client(): ApiClient {
    if (this.#client === undefined) throw new Error('the API server does not run');
    return this.#client;
  }

  get log(): string {
    return readFileSync(join(this.folder, 'proxy.log'), 'utf8');
  }

  /** Runs a command on the machine; throws as `run` does. */
  async run(command: string, ...args: string[]): Promise<string> {
    return (await run(command, args, { netns: this.#netns.fd, timeoutMs: 20_000 })).stdout;
  }

  async flatnetProxy(...args: string[]): Promise<string> {
    const { stdout, stderr } = await run(process.execPath, [FLATNET, 'proxy', ...args], {
      netns: this.#netns.fd,
      timeoutMs: 30_000,
    });
    return stdout + stderr;
  }

  startProxy(...args: string[]): void {
    const log = openSync(join(this.folder, 'proxy.log'), 'w');
    const all = [FLATNET, 'proxy', '--hostname-override=node-7', ...args];
    this.#proxy = withNetns(this.#netns.fd, () =>
      spawn(process.execPath, all, { stdio: ['ignore', log, log] }),
    );
    closeSync(log);
  }

  /** Ends the proxy; returns its exit code, null where the signal ended it. */
  async stopProxy(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<number | null> {
    this.#proxy?.kill(signal);
    return this.proxyEnd();
  }

  async proxyEnd(): Promise<number | null> {
    const proxy = this.#proxy;
    if (proxy === undefined) return null;
    if (proxy.exitCode === null && proxy.signalCode === null) await once(proxy, 'exit');
    this.#proxy = undefined;
    return proxy.exitCode;
  }

  /** Writes the file anew as an editor does: beside it, then over it. */
  editConfig(change: (text: string) => string): void {
    writeFileSync(`${this.configFile}.new`, change(readFileSync(this.configFile, 'utf8')));
    renameSync(`${this.configFile}.new`, this.configFile);
  }

  /** GET on one of the proxy's own servers: status and body. */
  async get(path: string, port = 10_256): Promise<string> {
    return this.run(
      'curl',
      '-s',
      '--max-time',
      '5',
      '-w',
      ' %{http_code}',
      `http://127.0.0.1:${port}${path}`,
    );
  }

  /** The answer through a Service's address, or what curl says. */
  async call(address: string): Promise<string> {
    return this.run('curl', '-sS', '--max-time', '2', `http://${address}/hello`).catch(String);
  }

  async createService(name: string, clusterIP: string, nodePort: number): Promise<void> {
    await this.client.create(SERVICES, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace: 'default', name },
      spec: { type: 'NodePort', clusterIP, ports: [{ name: 'http', port: 80, targetPort: 8080, nodePort }] },
    });
    await this.client.create(ENDPOINT_SLICES, {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: 'default', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      endpoints: [{ addresses: [POD_IP], nodeName: 'node-7', conditions: { ready: true } }],
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    });
  }

  async registerNode(): Promise<void> {
    await this.client.create(NODES, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'node-7' },
      status: { addresses: [{ type: 'InternalIP', address: NODE_IP }] },
    });
  }

  async stop(): Promise<void> {
    await this.stopProxy('SIGKILL');
    await this.#client?.close();
    await this.#api?.close();
    this.#server.kill('SIGKILL');
    this.#netns.close();
    deleteNetns(this.#name);
    deleteNetns(this.#pod);
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #wire(): Promise<void> {
    writeFileSync(join(this.folder, 'hello'), 'hello from the pod');
    const ip = async (...words: string[]): Promise<string> => this.run('ip', ...words);
    const inPod = async (...words: string[]): Promise<string> => ip('-n', this.#pod, ...words);
    await ip('link', 'set', 'lo', 'up');
    await ip('link', 'add', 'pod0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.#pod);
    await ip('addr', 'add', '10.244.7.1/24', 'dev', 'pod0');
    await ip('link', 'set', 'pod0', 'up');
    await inPod('addr', 'add', `${POD_IP}/24`, 'dev', 'eth0');
    await inPod('link', 'set', 'eth0', 'up');
    await inPod('route', 'add', 'default', 'via', '10.244.7.1');
    await ip('addr', 'add', `${NODE_IP}/32`, 'dev', 'lo');
    // Without a route the address of a Service is refused before any rule sees it.
    await ip('route', 'add', 'default', 'via', POD_IP, 'dev', 'pod0', 'src', NODE_IP);
  }

  async #startApi(): Promise<void> {
    this.#api = await ApiServer.start({
      listen: [
        { fd: listenTcp(Ip.parse('127.0.0.1'), 6443, { netns: this.#netns.fd }) },
        { host: '127.0.0.1', port: 0 },
      ],
      advertise: { host: '127.0.0.1', port: 6443 },
      serviceCidrs: ['10.96.0.0/16'],
      tokens: new Map([[TOKEN, { username: 'system:kube-proxy', groups: ['system:masters'] }]]),
    });
    const outside = join(this.folder, 'kubeconfig-outside');
    writeFileSync(outside, this.#kubeconfig(this.#api.addresses[1]?.port ?? 0));
    this.#client = new ApiClient(await loadKubeconfig(outside));
    const inside = join(this.folder, 'kubeconfig.conf');
    writeFileSync(inside, this.#kubeconfig(6443));
    this.editConfig((text) => text.replace('/var/lib/kube-proxy/kubeconfig.conf', inside));
  }

  #kubeconfig(port: number): string {
    return JSON.stringify({
      clusters: [
        {
          name: 'default',
          cluster: {
            server: `https://127.0.0.1:${port}`,
            'certificate-authority-data': Buffer.from(this.#api?.authority.certificate ?? '').toString(
              'base64',
            ),
          },
        },
      ],
      contexts: [{ name: 'default', context: { cluster: 'default', user: 'default' } }],
      'current-context': 'default',
      users: [{ name: 'default', user: { token: TOKEN } }],
    });
  }
}
