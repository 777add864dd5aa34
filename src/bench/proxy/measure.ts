import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { sleep } from '../../timing/backoff.ts';
import { BenchCluster } from './bench-cluster.ts';
import { BenchNetwork, LONE_POD_IP } from './bench-network.ts';
import { BenchCalls } from './calls/bench-calls.ts';
import { MeasuredProcess, type FirstSync } from './measured-process.ts';
import { quantile } from '../statistics.ts';
import type { ConnectTimes, ProxyMeasurement } from './measurement.ts';
import type { BenchMode, KernelView } from './modes/mode.ts';
import { RecordedApi, SLICES_PATH } from './recorded-api.ts';
import { clusterIp, SERVICE_PORT, serviceKey, TARGET_PORT } from './recorded-objects.ts';

export interface ProxyScale {
  readonly services: number;
  readonly endpoints: number;
  /** How many changes are measured at most, and for how long at most. */
  readonly changes: number;
  readonly changesMs: number;
  readonly connections: number;
  readonly firstSyncTimeoutMs: number;
}

type ChangeFigures = Pick<ProxyMeasurement, 'changeMs' | 'cpuMsPerChange' | 'toolCpuMsPerChange' | 'rssMb'>;

const LONE_POD = `${LONE_POD_IP}:${TARGET_PORT}`;
const WARM_UP_CHANGES = 20;
/** Fewer say nothing, however long they take. */
const MIN_CHANGES = 10;

/** Runs the proxy once as a process of its own, on a node of its own. */
export async function measureProxy(
  mode: BenchMode,
  scale: ProxyScale,
  progress: (what: string) => void,
): Promise<ProxyMeasurement> {
  const { services, endpoints } = scale;
  return withProxyBench(mode, scale, async (bench) => {
    progress(`${mode.name}: first sync of ${services} Services with ${endpoints} endpoints each`);
    const bare = await bench.connectDirectly();
    const { ms: firstSyncMs, cpuMs: firstSyncCpuMs } = await bench.firstSync();
    progress(`${mode.name}: changes`);
    const changes = await bench.changes();
    progress(`${mode.name}: connections`);
    const connectUs = { bare, ...(await bench.connect()) };
    return { mode: mode.name, services, endpoints, firstSyncMs, firstSyncCpuMs, ...changes, connectUs };
  });
}

/** With a node and an API of its own; the proxy starts with `firstSync`, and ends with all else when `use` does. */
export async function withProxyBench<T>(
  mode: BenchMode,
  scale: ProxyScale,
  use: (bench: ProxyBench) => Promise<T>,
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-bench-'));
  const network = await BenchNetwork.create(`fnt-bench-${process.pid}-${scale.services}`);
  const bench = new ProxyBench(mode, scale, network, folder);
  const endInterrupted = endWhenInterrupted(bench, network);
  try {
    return await use(bench);
  } finally {
    endInterrupted();
    await bench.stop();
    network.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Leaves nothing behind when it is ended from outside; returns what takes that back. */
function endWhenInterrupted(bench: ProxyBench, network: BenchNetwork): () => void {
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const end = (signal: (typeof signals)[number]): void => {
    bench.kill();
    network.close();
    process.exit(128 + constants.signals[signal]);
  };
  for (const signal of signals) process.once(signal, end);
  return () => signals.forEach((signal) => process.off(signal, end));
}

export class ProxyBench {
  readonly #mode: BenchMode;
  readonly #scale: ProxyScale;
  readonly #network: BenchNetwork;
  readonly #folder: string;
  readonly #cluster: BenchCluster;
  readonly #api: RecordedApi;
  #process: MeasuredProcess | undefined;

  constructor(mode: BenchMode, scale: ProxyScale, network: BenchNetwork, folder: string) {
    this.#mode = mode;
    this.#scale = scale;
    this.#network = network;
    this.#folder = folder;
    this.#cluster = new BenchCluster(scale.services, scale.endpoints);
    this.#api = new RecordedApi(this.#cluster.collections());
  }

  async firstSync(): Promise<FirstSync> {
    await this.#mode.prepareNode?.(this.#network);
    const server = await this.#api.listen(this.#network.node.fd);
    const authority = join(this.#folder, 'ca.crt');
    writeFileSync(authority, this.#api.certificateAuthority);
    const watched = this.#api.watched();
    const args = ['--mode', this.#mode.proxyMode, '--server', server, '--certificate-authority', authority];
    this.#process = new MeasuredProcess(this.#network.node.fd, args);
    const firstSync = await this.#process.synced(this.#scale.firstSyncTimeoutMs);
    await watched;
    await this.#process.settled();
    return firstSync;
  }

  async changes(): Promise<ChangeFigures> {
    const view = await this.#mode.view(this.#network);
    try {
      return await this.#measureChanges(this.#started(), view);
    } finally {
      await view.close();
    }
  }

  /** Time to a pod, microseconds. */
  async connectDirectly(): Promise<number> {
    const [direct = Number.NaN] = await this.#connectTo([LONE_POD]);
    return direct;
  }

  /** Times to a pod, past the rules, and to the first and the last Service. */
  async connect(): Promise<Omit<ConnectTimes, 'bare'>> {
    const last = this.#scale.services - 1;
    const [direct = Number.NaN, firstService = Number.NaN, lastService = Number.NaN] = await this.#connectTo([
      LONE_POD,
      `${clusterIp(0)}:${SERVICE_PORT}`,
      `${clusterIp(last)}:${SERVICE_PORT}`,
    ]);
    return { direct, firstService, lastService };
  }

  kill(): void {
    this.#process?.kill();
  }

  async stop(): Promise<void> {
    await this.#process?.stop();
    await this.#api.close();
  }

  /** One at a time, each waited for. */
  async #measureChanges(process: MeasuredProcess, view: KernelView): Promise<ChangeFigures> {
    await view.verify(this.#cluster);
    let rssMb = process.residentMb();
    let number = 0;
    // Once round for those that change slowly.
    const warmUpUntil = performance.now() + this.#scale.changesMs / 10;
    for (; number < WARM_UP_CHANGES; number += 1) {
      if (number >= this.#mode.changes.length && performance.now() > warmUpUntil) break;
      await this.#change(number, view);
    }
    const before = process.cpu();
    const times: number[] = [];
    const until = performance.now() + this.#scale.changesMs;
    while (times.length < this.#scale.changes) {
      if (times.length >= MIN_CHANGES && performance.now() > until) break;
      times.push(await this.#change(number, view));
      number += 1;
      // As a cluster has them: not all at once.
      await sleep(2);
    }
    const after = process.cpu();
    await view.verify(this.#cluster);
    rssMb = Math.max(rssMb, process.residentMb());
    return {
      changeMs: { p50: quantile(times, 0.5), p99: quantile(times, 0.99) },
      cpuMsPerChange: (after.ownMs - before.ownMs) / times.length,
      toolCpuMsPerChange: (after.toolsMs - before.toolsMs) / times.length,
      rssMb,
    };
  }

  async #change(number: number, view: KernelView): Promise<number> {
    const change = this.#cluster.change(number, this.#mode.changes);
    const slice = this.#cluster.slice(change.index);
    await view.expectChange?.(change);
    const sent = performance.now();
    this.#api.modify(SLICES_PATH, serviceKey(change.index), slice);
    // What was written leaves the process before this one blocks.
    await nextTurn();
    await view.awaitChange(change);
    return performance.now() - sent;
  }

  async #connectTo(targets: readonly string[]): Promise<number[]> {
    return new BenchCalls(this.#network).measure(this.#mode.connection, targets, this.#scale.connections);
  }

  #started(): MeasuredProcess {
    if (this.#process === undefined) throw new Error('the first sync comes first');
    return this.#process;
  }
}
