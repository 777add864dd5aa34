import { performance } from 'node:perf_hooks';
import type { Logger } from '../log/logger.ts';
import type { IpFamily } from '../net/ip.ts';
import { Backoff, type BackoffOptions } from '../timing/backoff.ts';
import type { ProxyBackend, SyncReport } from './backend.ts';
import type { ServiceModel } from './services/model.ts';
import type { ServicePort, ServicePortChange } from './services/service-port.ts';

/** A backend with the families that it was opened for. */
export interface ActiveBackend {
  readonly backend: ProxyBackend;
  readonly families: readonly IpFamily[];
  /** Least time between two updates, milliseconds; 0: none. */
  readonly minSyncPeriodMs: number;
}

/** Told what is in the kernel, after it is there. */
export interface SyncListener {
  /** `full`: what follows by `programmed` until `synced` is everything; forget the rest. */
  began(full: boolean): void;
  programmed(id: string, port: ServicePort | undefined): void;
  synced(active: ActiveBackend, report: SyncReport, full: boolean, seconds: number): void;
  /** Nothing of it was taken; it will be tried again. */
  failed(active: ActiveBackend, error: unknown, full: boolean): void;
  /** Another program had changed rules; `lines` tell what was done about it. */
  repaired(active: ActiveBackend, lines: readonly string[]): void;
}

export interface RuleSyncOptions {
  readonly model: ServiceModel;
  readonly listener: SyncListener;
  readonly logger: Logger;
  /** How often it is asked whether somebody else changed the rules, milliseconds; 2,500 when absent. */
  readonly auditIntervalMs?: number;
  /** Of full syncs that are refused; from 100 milliseconds to 10 seconds when absent. */
  readonly backoff?: BackoffOptions;
}

interface Replacement {
  readonly next: ActiveBackend;
  readonly retire: (old: ProxyBackend) => Promise<void>;
  readonly done: (error?: unknown) => void;
}

/** A repair has to be there within 5 seconds, also where the kernel tells nothing. */
const AUDIT_INTERVAL_MS = 2_000;
/** What the model had new concerned no Service that there is. */
const NOTHING: SyncReport = { describe: () => [], conflicts: [] };
/** The kernel tells of our own changes too: so many calls are one question. */
const NOTICE_DELAY_MS = 200;

/**
 * Keeps one backend at what the model says: one call at a time, what arrives during a call goes into the next one.
 * A refused call is mended by a full sync, tried until it succeeds.
 */
export class RuleSync {
  readonly #options: RuleSyncOptions;
  readonly #listener: SyncListener;
  readonly #backoff: Backoff;
  #active: ActiveBackend | undefined;
  #unwatch: (() => void) | undefined;
  #replacements: Replacement[] = [];
  #flushQueued = false;
  #flushWanted = false;
  #auditWanted = false;
  /** There was an audit since the last update. */
  #audited = false;
  /** Of the next full sync, on the clock of performance.now(); undefined: none is needed. */
  #rebuildAt: number | undefined;
  /** What is in the kernel is not what was last told: nothing but a full sync helps. */
  #refused = false;
  #lastUpdateAt = -Infinity;
  #awake = false;
  #resume: (() => void) | undefined;
  #alarm: NodeJS.Timeout | undefined;
  #notice: NodeJS.Timeout | undefined;

  constructor(options: RuleSyncOptions) {
    this.#options = options;
    this.#listener = options.listener;
    this.#backoff = new Backoff({ initialMs: 100, maxMs: 10_000, ...options.backoff });
  }

  get active(): ActiveBackend | undefined {
    return this.#active;
  }

  /** The model has something new. Everything that arrives in one turn of the event loop goes into one call. */
  changed(): void {
    if (this.#flushQueued || this.#active === undefined) return;
    this.#flushQueued = true;
    setImmediate(() => {
      this.#flushQueued = false;
      this.#flushWanted = true;
      this.#wake();
    });
  }

  /**
   * Brings `next` to what the model says and then goes on with it; `retire` is called with the backend before, when
   * `next` serves everything. Rejects when `next` cannot: then the one before goes on.
   */
  async replace(next: ActiveBackend, retire: Replacement['retire']): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const done = (error?: unknown): void => {
        if (error === undefined) resolve();
        else reject(error);
      };
      this.#replacements.push({ next, retire, done });
      this.#wake();
    });
  }

  /**
   * Works until the signal is aborted, from when `ready` says that the model is complete. Rejects when the first
   * backend cannot serve at all. Leaves everything in the kernel.
   */
  async run(first: ActiveBackend, ready: Promise<void>, signal: AbortSignal): Promise<void> {
    const stop = (): void => this.#wake();
    signal.addEventListener('abort', stop, { once: true });
    const audit = setInterval(() => this.#askForAudit(), this.#options.auditIntervalMs ?? AUDIT_INTERVAL_MS);
    audit.unref();
    try {
      await first.backend.prepare();
      await ready;
      this.#use(first);
      this.#rebuildAt = 0;
      while (!signal.aborted) await this.#step();
    } finally {
      signal.removeEventListener('abort', stop);
      clearInterval(audit);
      clearTimeout(this.#alarm);
      clearTimeout(this.#notice);
      this.#unwatch?.();
      const active = this.#active ?? first;
      this.#active = undefined;
      for (const { done, next } of this.#replacements.splice(0)) {
        await next.backend.close();
        done(new Error('the proxy has ended'));
      }
      await active.backend.close();
    }
  }

  #use(active: ActiveBackend): void {
    this.#unwatch?.();
    this.#active = active;
    this.#unwatch = active.backend.watch?.(() => {
      this.#notice ??= setTimeout(() => this.#askForAudit(), NOTICE_DELAY_MS).unref();
    });
  }

  #askForAudit(): void {
    clearTimeout(this.#notice);
    this.#notice = undefined;
    this.#auditWanted = true;
    this.#wake();
  }

  /** Does what is to be done first, or waits for something to do. */
  async #step(): Promise<void> {
    const active = this.#active;
    if (active === undefined) return;
    const replacement = this.#replacements.shift();
    if (replacement !== undefined) return this.#replace(active, replacement);
    const now = performance.now();
    const untilRebuild = this.#rebuildAt === undefined ? undefined : this.#rebuildAt - now;
    if (untilRebuild !== undefined && untilRebuild <= 0) {
      await this.#rebuild(active);
      return;
    }
    if (this.#refused) return this.#sleep(untilRebuild);
    const flushIn =
      this.#flushWanted && this.#options.model.pending
        ? Math.max(0, this.#lastUpdateAt + active.minSyncPeriodMs - now)
        : undefined;
    // By turns, where both are wanted at once: a look at everything may take longer than the time between two.
    if (this.#auditWanted && !(flushIn === 0 && this.#audited)) return this.#audit(active);
    if (flushIn === 0) return this.#update(active);
    if (flushIn !== undefined) return this.#sleep(flushIn);
    this.#flushWanted = false;
    return this.#sleep(untilRebuild);
  }

  async #update(active: ActiveBackend): Promise<void> {
    this.#flushWanted = false;
    this.#audited = false;
    const started = performance.now();
    this.#lastUpdateAt = started;
    const changes = this.#options.model.drain();
    try {
      const report = changes.length === 0 ? NOTHING : await active.backend.update(changes);
      this.#tell(active, report, changes, started);
    } catch (error) {
      this.#fail(active, error, false);
    }
  }

  #tell(
    active: ActiveBackend,
    report: SyncReport,
    changes: readonly ServicePortChange[],
    started: number,
  ): void {
    const seconds = (performance.now() - started) / 1000;
    this.#listener.began(false);
    for (const { id, port } of changes) this.#listener.programmed(id, port);
    this.#synced(active, report, false, seconds);
  }

  async #rebuild(active: ActiveBackend): Promise<SyncReport | undefined> {
    const again = this.#rebuildAt !== 0;
    const started = performance.now();
    this.#rebuildAt = undefined;
    this.#flushWanted = false;
    this.#lastUpdateAt = started;
    try {
      if (again) await active.backend.prepare();
      const report = await active.backend.rebuild(this.#everything());
      this.#synced(active, report, true, (performance.now() - started) / 1000);
      return report;
    } catch (error) {
      this.#fail(active, error, true);
      return undefined;
    }
  }

  /** All service ports, shown to the listener on their way. */
  *#everything(): Generator<ServicePort> {
    this.#listener.began(true);
    for (const port of this.#options.model.drainAll()) {
      this.#listener.programmed(port.id, port);
      yield port;
    }
  }

  #synced(active: ActiveBackend, report: SyncReport, full: boolean, seconds: number): void {
    this.#listener.synced(active, report, full, seconds);
    this.#refused = false;
    // Came while the call was under way.
    if (this.#options.model.pending) this.#flushWanted = true;
    if ((report.failures?.length ?? 0) > 0) {
      // The rest is in place: what is missing is tried again, more and more seldom.
      this.#rebuildLater(1000);
    } else if (full) this.#backoff.reset();
  }

  #fail(active: ActiveBackend, error: unknown, full: boolean): void {
    this.#refused = true;
    this.#listener.failed(active, error, full);
    this.#rebuildLater(0);
  }

  #rebuildLater(leastMs: number): void {
    this.#rebuildAt = performance.now() + Math.max(leastMs, this.#backoff.next());
  }

  async #audit(active: ActiveBackend): Promise<void> {
    this.#auditWanted = false;
    this.#audited = true;
    let foreign: boolean;
    try {
      foreign = await active.backend.foreignChange();
    } catch (error) {
      this.#options.logger.debug({ err: error }, 'cannot look for foreign changes; looking at everything');
      foreign = true;
    }
    if (!foreign) return;
    // What is new in the model is no repair.
    if (this.#options.model.pending) await this.#update(active);
    this.#rebuildAt = performance.now();
    const report = await this.#rebuild(active);
    const lines = report?.describe() ?? [];
    // Somebody changed something, but nothing of ours.
    if (lines.length > 0) this.#listener.repaired(active, lines);
  }

  async #replace(old: ActiveBackend, { next, retire, done }: Replacement): Promise<void> {
    const started = performance.now();
    try {
      await next.backend.prepare();
      const report = await next.backend.rebuild(this.#everything());
      this.#use(next);
      this.#rebuildAt = undefined;
      this.#synced(next, report, true, (performance.now() - started) / 1000);
      await retire(old.backend);
      done();
    } catch (error) {
      if (this.#active !== next) {
        await next.backend.close();
        // What was drained for the other one is unknown to this one.
        this.#rebuildAt = performance.now();
      }
      done(error);
    }
  }

  #wake(): void {
    this.#awake = true;
    this.#resume?.();
  }

  async #sleep(ms?: number): Promise<void> {
    if (!this.#awake) {
      await new Promise<void>((resolve) => {
        this.#resume = resolve;
        if (ms !== undefined) this.#alarm = setTimeout(resolve, ms);
      });
      clearTimeout(this.#alarm);
      this.#resume = undefined;
    }
    this.#awake = false;
  }
}
