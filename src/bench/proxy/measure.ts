import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { run } from '../../kernel/exec/run.ts';
import { createNetns, deleteNetns, Netns, withNetns } from '../../kernel/netns/netns.ts';
import { addressField, endpointData, indexField, portField, protocolField } from '../../kernel/nft/field.ts';
import { NftSocket } from '../../kernel/nft/nft-socket.ts';
import { proxySets } from '../../proxy/backends/nftables/sets.ts';
import { sleep } from '../../timing/backoff.ts';
import { KernelWatch } from './kernel-watch.ts';
import { cpuMs, residentMb } from './process-usage.ts';
import { RecordedApi } from './recorded-api.ts';
import {
  clusterIp,
  podIp,
  recordedService,
  recordedSlice,
  SERVICE_PORT,
  TARGET_PORT,
} from './recorded-objects.ts';

export interface ProxyMeasurement {
  readonly mode: 'nftables';
  readonly services: number;
  readonly endpoints: number;
  /** From the start of the process until the kernel held everything. */
  readonly firstSyncMs: number;
  /** From an EndpointSlice event being sent until the kernel held what it asks for. */
  readonly changeMs: { readonly p50: number; readonly p99: number };
  readonly cpuMsPerChange: number;
  readonly rssMb: number;
}

export interface ProxyScale {
  readonly services: number;
  readonly endpoints: number;
  readonly changes: number;
}

const SETS = proxySets(4);
const WARM_UP_CHANGES = 20;

/** Runs the proxy once as a process of its own, in a network namespace of its own. */
export async function measureProxy(
  scale: ProxyScale,
  progress: (what: string) => void,
): Promise<ProxyMeasurement> {
  const name = `fnt-bench-${process.pid}`;
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-bench-'));
  createNetns(name);
  const netns = Netns.named(name);
  const bench = new ProxyBench(scale, netns, folder);
  try {
    await run('ip', ['link', 'set', 'lo', 'up'], { netns: netns.fd });
    progress(`first sync of ${scale.services} Services with ${scale.endpoints} endpoints each`);
    const firstSyncMs = await bench.firstSync();
    progress(`${scale.changes} changes`);
    return {
      mode: 'nftables',
      services: scale.services,
      endpoints: scale.endpoints,
      firstSyncMs,
      ...(await bench.changes()),
    };
  } finally {
    await bench.stop();
    netns.close();
    deleteNetns(name);
    rmSync(folder, { recursive: true, force: true });
  }
}

class ProxyBench {
  readonly #scale: ProxyScale;
  readonly #netns: Netns;
  readonly #folder: string;
  readonly #api: RecordedApi;
  readonly #pods: number[][];
  #nextPod: number;
  #resourceVersion = 1_000_000;
  #process: ChildProcess | undefined;

  constructor(scale: ProxyScale, netns: Netns, folder: string) {
    this.#scale = scale;
    this.#netns = netns;
    this.#folder = folder;
    const indexes = Array.from({ length: scale.services }, (_, index) => index);
    this.#pods = indexes.map((index) =>
      Array.from({ length: scale.endpoints }, (_, pod) => index * scale.endpoints + pod),
    );
    this.#nextPod = scale.services * scale.endpoints;
    this.#api = new RecordedApi({
      services: indexes.map((index) => JSON.stringify(recordedService(index))),
      slices: indexes.map((index) =>
        JSON.stringify(recordedSlice(index, this.#pods[index] ?? [], index + 1)),
      ),
    });
  }

  async firstSync(): Promise<number> {
    const server = await this.#api.listen(this.#netns.fd);
    const authority = join(this.#folder, 'ca.crt');
    writeFileSync(authority, this.#api.certificateAuthority);
    const script = process.argv[1] ?? '';
    const args = [script, 'proxy-process', '--server', server, '--certificate-authority', authority];
    const watched = this.#api.watched();
    const started = performance.now();
    const child = withNetns(this.#netns.fd, () =>
      spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    this.#process = child;
    await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(refuseExit)]);
    const firstSyncMs = performance.now() - started;
    this.#verify();
    await watched;
    return firstSyncMs;
  }

  /** One at a time, each waited for; of pods that are replaced, that go and that come back, in turn. */
  async changes(): Promise<Pick<ProxyMeasurement, 'changeMs' | 'cpuMsPerChange' | 'rssMb'>> {
    const pid = this.#process?.pid ?? 0;
    let rssMb = residentMb(pid);
    const watch = new KernelWatch(this.#netns.fd);
    try {
      for (let change = 0; change < WARM_UP_CHANGES; change += 1) await this.#change(change, watch);
      const cpuBefore = cpuMs(pid);
      const times: number[] = [];
      for (let change = 0; change < this.#scale.changes; change += 1) {
        times.push(await this.#change(change, watch));
        // As a cluster has them: not all at once.
        await sleep(2);
      }
      const cpuMsPerChange = (cpuMs(pid) - cpuBefore) / this.#scale.changes;
      this.#verify();
      rssMb = Math.max(rssMb, residentMb(pid));
      times.sort((a, b) => a - b);
      return { changeMs: { p50: quantile(times, 0.5), p99: quantile(times, 0.99) }, cpuMsPerChange, rssMb };
    } finally {
      watch.close();
    }
  }

  async stop(): Promise<void> {
    const child = this.#process;
    if (child !== undefined && child.exitCode === null) {
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      await ended;
    }
    await this.#api.close();
  }

  async #change(change: number, watch: KernelWatch): Promise<number> {
    // Spread over all Services; 7919 is prime, so that every Service has its turn.
    const index = (Math.floor(change / 3) * 7919) % this.#scale.services;
    const pods = this.#pods[index] ?? [];
    const expected = this.#alter(pods, change % 3);
    this.#resourceVersion += 1;
    const slice = JSON.stringify(recordedSlice(index, pods, this.#resourceVersion));
    const entry = entryOf(index);
    const sent = performance.now();
    this.#api.modify(slice);
    // What was written leaves the process before this one blocks.
    await nextTurn();
    if (expected.kind === 'endpoint') {
      const value = endpointData(podIp(expected.pod), TARGET_PORT);
      watch.waitForElement(SETS.endpoints, { key: entry + indexField(expected.number), value });
    } else watch.waitForElement(SETS.serviceIps, { key: entry, value: indexField(pods.length) });
    return performance.now() - sent;
  }

  /** Alters the list of pods; returns what the kernel will tell when it has the change. */
  #alter(
    pods: number[],
    kind: number,
  ): { kind: 'count' } | { kind: 'endpoint'; number: number; pod: number } {
    if (kind === 1 && pods.length > 1) {
      pods.pop();
      return { kind: 'count' };
    }
    const pod = this.#nextPod;
    this.#nextPod += 1;
    const number = kind === 0 ? Math.floor(pods.length / 2) : pods.length;
    pods[number] = pod;
    return { kind: 'endpoint', number, pod };
  }

  /** Reads back all that the kernel holds and compares it with what it should. */
  #verify(): void {
    const nft = NftSocket.open({ netns: this.#netns.fd });
    try {
      const endpoints = new Map(nft.elements(SETS.endpoints).map(({ key, value }) => [key, value]));
      const services = new Map(nft.elements(SETS.serviceIps).map(({ key, value }) => [key, value]));
      for (const [index, pods] of this.#pods.entries()) {
        const entry = entryOf(index);
        const held = new Set(pods.map((_, number) => endpoints.get(entry + indexField(number))));
        const wanted = pods.map((pod) => endpointData(podIp(pod), TARGET_PORT));
        const right = wanted.every((endpoint) => held.has(endpoint));
        if (!right || services.get(entry) !== indexField(pods.length)) throw wrongInKernel(index);
      }
      const total = this.#pods.reduce((sum, pods) => sum + pods.length, 0);
      if (endpoints.size !== total) throw wrongInKernel(-1);
    } finally {
      nft.close();
    }
  }
}

function entryOf(index: number): string {
  return addressField(clusterIp(index)) + protocolField('TCP') + portField(SERVICE_PORT);
}

function wrongInKernel(index: number): FlatnetError {
  const what = index < 0 ? 'more endpoints than there are' : `something else for Service ${index}`;
  return new FlatnetError(`the kernel holds ${what}`, { code: 'BENCH_WRONG_RESULT' });
}

function refuseExit(): never {
  throw new FlatnetError('the proxy ended before its first sync', { code: 'BENCH_PROXY_ENDED' });
}

function quantile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}
