import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sleep } from '../timing/backoff.ts';

const alive = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL');
});

/** Debian's etcd for tests: on 127.0.0.1, with a data folder of its own that outlives `stop` and goes with `remove`. */
export class RealEtcd {
  readonly folder: string;
  readonly #port: number;
  readonly #peerPort: number;
  readonly #scheme: 'http' | 'https';
  readonly #options: readonly string[];
  #process: ChildProcess | undefined;
  #removed = false;
  #log = '';

  private constructor(folder: string, ports: readonly [number, number], options: readonly string[]) {
    this.folder = folder;
    [this.#port, this.#peerPort] = ports;
    this.#options = options;
    this.#scheme = options.some((option) => option.startsWith('--cert-file')) ? 'https' : 'http';
  }

  static async start(options: readonly string[] = [], folder?: string): Promise<RealEtcd> {
    const own = folder ?? (await mkdtemp(join(tmpdir(), 'fnt-etcd-')));
    const etcd = new RealEtcd(own, [await freePort(), await freePort()], options);
    await etcd.start();
    return etcd;
  }

  get endpoint(): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    // What a test that was given up on may still ask for.
    if (this.#removed) throw new Error('this etcd has been removed');
    const client = this.endpoint;
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    const options = [
      `--data-dir=${join(this.folder, 'data')}`,
      '--name=test',
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=test=${peer}`,
      // Alone, it elects itself without delay; and leases may be as short as a second.
      '--heartbeat-interval=10',
      '--election-timeout=100',
      // Tests do not wait long for a connection to be found dead.
      '--grpc-keepalive-min-time=100ms',
      '--log-level=warn',
      ...this.#options,
    ];
    const child = spawn('etcd', options, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    alive.add(child);
    child.once('exit', () => alive.delete(child));
    child.stderr.on('data', (chunk: Buffer) => (this.#log = (this.#log + chunk.toString()).slice(-4000)));
    for (let attempt = 0; ; attempt += 1) {
      if (child.exitCode !== null || attempt > 300) throw new Error(`etcd did not start: ${this.#log}`);
      if (await accepts(this.#port)) return;
      await sleep(20);
    }
  }

  /** By SIGKILL, as a machine that loses its power. */
  async stop(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** Another etcd in its place, with nothing in it. */
  async wipe(): Promise<void> {
    await this.stop();
    await rm(join(this.folder, 'data'), { recursive: true });
    await this.start();
  }

  /** Not stopped, but silent. */
  freeze(frozen: boolean): void {
    this.#process?.kill(frozen ? 'SIGSTOP' : 'SIGCONT');
  }

  async remove(): Promise<void> {
    this.#removed = true;
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** etcdctl as a user calls it; returns what it prints. */
  async ctl(...args: string[]): Promise<string> {
    const env = { ...process.env, ETCDCTL_API: '3', ETCDCTL_ENDPOINTS: this.endpoint };
    const { stdout } = await promisify(execFile)('etcdctl', args, { env });
    return stdout.trim();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function accepts(port: number): Promise<boolean> {
  const { connect } = await import('node:net');
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
