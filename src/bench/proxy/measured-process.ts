import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { withNetns } from '../../kernel/netns/netns.ts';
import { sleep } from '../../timing/backoff.ts';
import { cpuTime, residentMb, type CpuTime } from '../agent/process-usage.ts';

const LOOK_MS = 100;
const QUIET_LOOKS = 5;
/** What the kernel counts in: less than this cannot be told from nothing. */
const TICK_MS = 10;

export interface FirstSync {
  readonly ms: number;
  /** Of the process and of programs that it started. */
  readonly cpuMs: number;
}

/** The proxy, as a process of its own in the node's network namespace. */
export class MeasuredProcess {
  readonly startedAt = performance.now();
  readonly #child: ChildProcess;
  readonly #synced: Promise<FirstSync>;

  constructor(netns: number, args: readonly string[]) {
    const [script = ''] = process.argv.slice(1);
    // Flags of Node.js reach it too: `node --cpu-prof dist/bench.js proxy …`.
    const all = [...process.execArgv, script, 'proxy-process', ...args];
    const child = withNetns(netns, () =>
      spawn(process.execPath, all, { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    this.#child = child;
    this.#synced = once(child.stdout, 'data').then(() => {
      const ms = performance.now() - this.startedAt;
      const { ownMs, toolsMs } = this.cpu();
      return { ms, cpuMs: ownMs + toolsMs };
    });
  }

  /** From its start to its first complete sync. Throws when it ends before, or takes too long. */
  async synced(timeoutMs: number): Promise<FirstSync> {
    const waited = new AbortController();
    try {
      return await Promise.race([
        this.#synced,
        once(this.#child, 'exit').then(() => {
          throw new FlatnetError('the proxy ended before its first sync', { code: 'BENCH_PROXY_ENDED' });
        }),
        sleep(timeoutMs, waited.signal).then(() => {
          if (waited.signal.aborted) return { ms: Number.NaN, cpuMs: Number.NaN };
          throw new FlatnetError(`no first sync within ${Math.round(timeoutMs / 1000)} s`, {
            code: 'BENCH_TIMEOUT',
          });
        }),
      ]);
    } finally {
      waited.abort();
    }
  }

  /** Waits until what it does after its first sync is done: it has used no CPU for a while. */
  async settled(): Promise<void> {
    const total = (): number => this.cpu().ownMs + this.cpu().toolsMs;
    for (let quiet = 0, last = total(); quiet < QUIET_LOOKS;) {
      await sleep(LOOK_MS);
      const now = total();
      quiet = now - last <= TICK_MS ? quiet + 1 : 0;
      last = now;
    }
  }

  cpu(): CpuTime {
    return cpuTime(this.#pid);
  }

  residentMb(): number {
    return residentMb(this.#pid);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const waited = new AbortController();
    await Promise.race([ended, sleep(10_000, waited.signal)]);
    waited.abort();
    if (this.#child.exitCode === null) this.#child.kill('SIGKILL');
  }

  get #pid(): number {
    return this.#child.pid ?? 0;
  }
}
