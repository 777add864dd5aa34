import type { Container, ContainerState } from 'kubernetes-types/core/v1.js';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import { Backoff, sleep } from '../../timing/backoff.ts';
import { linkSignal } from './linked-signal.ts';
import type { ContainerExit } from './container-process.ts';
import {
  prepareContainer,
  removeContainer,
  startContainer,
  type PreparedContainer,
  type StartedContainer,
} from './container-start.ts';
import { runHook } from './lifecycle-hook.ts';
import type { PodContext } from './pod-context.ts';
import type { ContainerView } from './pod-status.ts';
import type { ProbeTarget } from './probe.ts';
import { probeLoop } from './probe-loop.ts';
import { CrashLoop, restarts } from './restart-policy.ts';

const IMAGE_BACKOFF = { initialMs: 10_000, maxMs: 300_000, random: () => 1 } as const;
const CONFIG_RETRY_MS = 2000;

/** One container of a pod: starts it, probes it, starts it again as its restart policy says, ends it. */
export class ContainerWorker {
  readonly container: Container;
  readonly #context: PodContext;
  readonly #policy: string;
  readonly #crashes = new CrashLoop();
  readonly #imageBackoff = new Backoff(IMAGE_BACKOFF);
  /** Aborted when the container shall not be started again. */
  readonly #stopping = new AbortController();
  #view: ContainerView = {
    state: { waiting: { reason: 'ContainerCreating' } },
    restartCount: 0,
    started: false,
    ready: false,
  };
  #current: StartedContainer | undefined;
  #previous: StartedContainer | undefined;
  #onStarted: (() => void)[] = [];

  /** `policy` is that of the pod, or `Always` for an init container that is a sidecar. */
  constructor(context: PodContext, container: Container, policy: string) {
    this.#context = context;
    this.container = container;
    this.#policy = policy;
  }

  get view(): ContainerView {
    return this.#view;
  }

  /** The running or last run; undefined before the first. */
  get current(): StartedContainer | undefined {
    return this.#current;
  }

  /** The run before it: `kubectl logs --previous`. */
  get previous(): StartedContainer | undefined {
    return this.#previous;
  }

  /** Resolves when the container has ended and will not be started again. */
  async run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      const prepared = await this.#prepare();
      if (prepared === undefined) continue;
      const exit = await this.#runOnce(prepared);
      if (this.#stopping.signal.aborted || !restarts(this.#policy, exit.exitCode)) return;
      await this.#beforeRestart(exit);
    }
  }

  /** Resolves when the container has started (its startup probe included) or will not any more. */
  async started(): Promise<void> {
    if (this.#view.started || this.#stopping.signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#onStarted.push(resolve);
      this.#stopping.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** preStop, SIGTERM, and SIGKILL when the grace period is over. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    const current = this.#current;
    if (current === undefined || this.#view.state.running === undefined) return;
    this.#event('Normal', 'Killing', `Stopping container ${this.container.name}`);
    await this.#end(current, graceMs);
  }

  /** Shortens a stop that is under way. */
  kill(): void {
    this.#stopping.abort();
    this.#current?.process.kill('SIGKILL');
  }

  async #prepare(): Promise<PreparedContainer | undefined> {
    try {
      return await prepareContainer(this.#context, this.container);
    } catch (error) {
      const message = describeError(error);
      const isImage = error instanceof FlatnetError && error.code.startsWith('IMAGE_');
      if (isImage) await this.#imageMissing(message);
      else {
        this.#waiting('CreateContainerConfigError', message);
        this.#event('Warning', 'Failed', `Error: ${message}`);
        await sleep(CONFIG_RETRY_MS, this.#stopping.signal);
      }
      return undefined;
    }
  }

  async #imageMissing(message: string): Promise<void> {
    const image = this.container.image ?? '';
    this.#event('Normal', 'Pulling', `Pulling image "${image}"`);
    this.#event('Warning', 'Failed', `Failed to pull image "${image}": ${message}`);
    this.#event('Warning', 'Failed', 'Error: ErrImagePull');
    this.#waiting('ErrImagePull', message);
    await sleep(1000, this.#stopping.signal);
    this.#waiting('ImagePullBackOff', `Back-off pulling image "${image}": ${message}`);
    this.#event('Normal', 'BackOff', `Back-off pulling image "${image}"`);
    await sleep(this.#imageBackoff.next(), this.#stopping.signal);
  }

  async #runOnce(prepared: PreparedContainer): Promise<ContainerExit> {
    const { name, image } = this.container;
    this.#event('Normal', 'Pulled', `Container image "${image}" already present on machine`);
    let started: StartedContainer;
    try {
      started = await startContainer(this.#context, this.container, prepared, this.#view.restartCount);
    } catch (error) {
      return this.#startFailed(describeError(error));
    }
    this.#previous = this.#current;
    this.#current = started;
    this.#event('Normal', 'Created', `Created container: ${name}`);
    this.#event('Normal', 'Started', `Started container ${name}`);
    this.#set({
      state: { running: { startedAt: seconds(started.process.startedAt) } },
      containerId: started.id,
    });
    const probing = linkSignal(this.#stopping.signal);
    if (this.#stopping.signal.aborted) started.process.kill('SIGKILL');
    const watched = this.#watch(started, probing.signal);
    const exit = await started.process.exited;
    probing.abort();
    await watched;
    this.#ended(started, exit);
    return exit;
  }

  #startFailed(message: string): ContainerExit {
    const now = new Date();
    this.#event('Warning', 'Failed', `Error: ${message}`);
    const state: ContainerState = {
      terminated: {
        exitCode: 128,
        reason: 'StartError',
        message,
        startedAt: seconds(now),
        finishedAt: seconds(now),
      },
    };
    this.#set({ state, started: false, ready: false });
    return { exitCode: 128, finishedAt: now };
  }

  #ended(run: StartedContainer, exit: ContainerExit): void {
    const terminated = {
      exitCode: exit.exitCode,
      ...(exit.signal === undefined ? {} : { signal: exit.signal }),
      reason: exit.exitCode === 0 ? 'Completed' : 'Error',
      startedAt: seconds(run.process.startedAt),
      finishedAt: seconds(exit.finishedAt),
      containerID: `containerd://${run.id}`,
    };
    this.#set({ state: { terminated }, started: false, ready: false });
    // Nobody waits for this: what is left of it goes with the node at the latest.
    removeContainer(this.#context, run.id).catch(() => undefined);
  }

  async #beforeRestart(exit: ContainerExit): Promise<void> {
    const { name } = this.container;
    const ended = this.#view.state;
    const startedAt = ended.terminated?.startedAt;
    const ranMs = startedAt === undefined ? 0 : exit.finishedAt.getTime() - Date.parse(startedAt);
    const delayMs = this.#crashes.delayAfter(ranMs);
    this.#set({ lastState: ended, restartCount: this.#view.restartCount + 1 });
    if (delayMs === 0) return;
    const { namespace, name: podName, uid } = this.#context.pod().metadata ?? {};
    const message = `back-off ${duration(delayMs)} restarting failed container=${name} pod=${podName}_${namespace}(${uid})`;
    this.#waiting('CrashLoopBackOff', message);
    this.#event(
      'Warning',
      'BackOff',
      `Back-off restarting failed container ${name} in pod ${podName}_${namespace}(${uid})`,
    );
    await sleep(delayMs, this.#stopping.signal);
  }

  /** Hooks and probes of one run, until the signal is aborted. */
  async #watch(run: StartedContainer, signal: AbortSignal): Promise<void> {
    const target = this.#target(run);
    const { lifecycle, startupProbe, livenessProbe, readinessProbe } = this.container;
    if (lifecycle?.postStart !== undefined) {
      const { success, message } = await runHook(lifecycle.postStart, target, this.#graceMs());
      if (!success && !signal.aborted) {
        this.#event('Warning', 'FailedPostStartHook', `PostStartHook failed: ${message}`);
        await this.#end(run, this.#graceMs());
        return;
      }
    }
    if (startupProbe !== undefined) {
      await probeLoop(
        startupProbe,
        target,
        this.#handlers(run, 'Startup', () => undefined),
        signal,
        {
          untilSuccess: true,
        },
      );
    }
    if (signal.aborted) return;
    this.#set({ started: true, ready: readinessProbe === undefined });
    for (const resolve of this.#onStarted.splice(0)) resolve();
    await Promise.all([
      livenessProbe === undefined
        ? undefined
        : probeLoop(
            livenessProbe,
            target,
            this.#handlers(run, 'Liveness', () => undefined),
            signal,
          ),
      readinessProbe === undefined
        ? undefined
        : probeLoop(
            readinessProbe,
            target,
            this.#handlers(run, 'Readiness', (ready) => this.#set({ ready })),
            signal,
          ),
    ]);
  }

  #handlers(
    run: StartedContainer,
    kind: 'Startup' | 'Liveness' | 'Readiness',
    onVerdict: (ok: boolean) => void,
  ) {
    return {
      onFailure: ({ message }: { readonly message: string }) =>
        this.#event('Warning', 'Unhealthy', `${kind} probe failed: ${message}`),
      onVerdict: (success: boolean): void => {
        onVerdict(success);
        if (success || kind === 'Readiness') return;
        this.#event(
          'Normal',
          'Killing',
          `Container ${this.container.name} failed ${kind.toLowerCase()} probe, will be restarted`,
        );
        void this.#end(run, this.#graceMs());
      },
    };
  }

  #target(run: StartedContainer): ProbeTarget {
    const { shared, podIps } = this.#context;
    return {
      container: this.container,
      process: run.process,
      podIp: podIps[0] ?? '127.0.0.1',
      netns: shared.node.netns.fd,
    };
  }

  async #end(run: StartedContainer, graceMs: number): Promise<void> {
    const deadline = Date.now() + graceMs;
    const preStop = this.container.lifecycle?.preStop;
    if (preStop !== undefined && graceMs > 0) {
      const { success, message } = await runHook(preStop, this.#target(run), graceMs);
      if (!success) this.#event('Warning', 'FailedPreStopHook', `PreStopHook failed: ${message}`);
    }
    run.process.kill('SIGTERM');
    const over = new AbortController();
    const exited = run.process.exited.finally(() => over.abort());
    await sleep(Math.max(0, deadline - Date.now()), over.signal);
    if (!over.signal.aborted) run.process.kill('SIGKILL');
    await exited;
  }

  #graceMs(): number {
    return (this.#context.pod().spec?.terminationGracePeriodSeconds ?? 30) * 1000;
  }

  #waiting(reason: string, message: string): void {
    this.#set({ state: { waiting: { reason, message } } });
  }

  #set(change: Partial<ContainerView>): void {
    this.#view = { ...this.#view, ...change };
    this.#context.changed();
  }

  #event(type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#context.shared.event(this.#context.pod(), type, reason, message);
  }
}

/** metav1.Time has no fractions. */
export function seconds(date: Date): string {
  return date.toISOString().replace(/\.\d+Z$/, 'Z');
}

/** As Go writes a duration: 10s, 1m20s, 5m0s. */
function duration(ms: number): string {
  const total = Math.round(ms / 1000);
  return total < 60 ? `${total}s` : `${Math.floor(total / 60)}m${total % 60}s`;
}
