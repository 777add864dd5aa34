import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { IpFamily } from '../net/ip.ts';
import type { SyncReport } from './backend.ts';
import type { ClusterFollower } from './cluster-follower.ts';
import type { HealthChecks } from './health-checks/health-checks.ts';
import { LocalGaps } from './local-gaps.ts';
import { familyLabel, type ProxyMetrics } from './metrics.ts';
import type { HealthState } from './proxy-health.ts';
import type { ActiveBackend, SyncListener } from './rule-sync.ts';
import type { ServicePort } from './services/service-port.ts';
import type { CleanReport, StaleFlows } from './stale-flows.ts';

export interface SyncOutcomeOptions {
  readonly metrics: ProxyMetrics;
  readonly health: HealthState;
  readonly follower: Pick<ClusterFollower, 'takeChanges'>;
  readonly healthChecks: HealthChecks;
  /** Undefined where the kernel has no connection tracking, or none that can be asked. */
  readonly flows: StaleFlows | undefined;
  readonly modelPending: () => boolean;
  readonly onFirstSync: () => void;
  readonly logger: Logger;
}

/** So many lines of one sync are written to the log. */
const LOGGED_LINES = 100;

/** What follows when the kernel has taken, or refused, a change: flows, health checks, metrics, log. */
export class SyncOutcome implements SyncListener {
  readonly #options: SyncOutcomeOptions;
  readonly #gaps = new LocalGaps();
  readonly #failures = new Set<string>();
  #first = true;

  constructor(options: SyncOutcomeOptions) {
    this.#options = options;
  }

  began(full: boolean): void {
    if (!full) return;
    this.#gaps.reset();
    this.#options.flows?.reset();
    this.#options.healthChecks.reset();
  }

  programmed(id: string, port: ServicePort | undefined): void {
    this.#gaps.set(id, port);
    this.#options.flows?.set(id, port);
    this.#options.healthChecks.set(id, port);
  }

  synced(active: ActiveBackend, report: SyncReport, full: boolean, seconds: number): void {
    const { health, healthChecks, modelPending, onFirstSync } = this.#options;
    // Flows first: until they are gone clients talk to nobody.
    this.#clean(active, full ? active.families : undefined);
    health.synced(modelPending());
    healthChecks.apply();
    this.#measure(active, report, full, seconds);
    this.#report(report, seconds);
    if (this.#first) onFirstSync();
    this.#first = false;
  }

  failed({ backend, families }: ActiveBackend, error: unknown, full: boolean): void {
    const { health, metrics, logger } = this.#options;
    const reason = describeError(error);
    health.failed(reason);
    metrics.failed(backend.mode, families, full);
    logger.error({ err: error }, `cannot program Services: ${reason}`);
  }

  repaired({ backend }: ActiveBackend, lines: readonly string[]): void {
    this.#options.metrics.foreignChanges.inc();
    this.#options.logger.warn(
      {
        mode: backend.mode,
        repaired: lines.slice(0, LOGGED_LINES),
        more: Math.max(0, lines.length - LOGGED_LINES),
      },
      `somebody else changed the proxy's rules; ${lines.length} repaired`,
    );
  }

  /** Deletes stale flows of all Services. */
  cleanAll(active: ActiveBackend): void {
    this.#clean(active, active.families);
  }

  #clean({ backend }: ActiveBackend, all: readonly IpFamily[] | undefined): void {
    const { flows, metrics, logger } = this.#options;
    // In userspace mode flows lead to this process, which follows endpoints by itself.
    if (flows === undefined || backend.mode === 'userspace') return;
    let reports: readonly CleanReport[] = [];
    try {
      reports = all === undefined ? flows.clean() : flows.cleanAll(all);
    } catch (error) {
      const text = describeError(error);
      logger.warn({ error: text }, `UDP connections to endpoints that are gone may stay: ${text}`);
    }
    for (const { family, deleted, seconds } of reports) {
      const label = { ip_family: familyLabel(family) };
      metrics.deletedFlows.inc(label, deleted);
      metrics.flowsDuration.observe(label, seconds);
    }
  }

  #measure({ families }: ActiveBackend, report: SyncReport, full: boolean, seconds: number): void {
    const { metrics, follower } = this.#options;
    const now = Date.now();
    const { services, slices, triggers } = follower.takeChanges();
    for (const family of families) {
      const label = { ip_family: familyLabel(family) };
      metrics.syncDuration.observe(label, seconds);
      (full ? metrics.fullSyncDuration : metrics.partialSyncDuration).observe(label, seconds);
      metrics.lastSync.set(label, now / 1000);
      // What happened before this process was there tells nothing of how quick it is.
      if (this.#first) continue;
      for (const trigger of triggers) metrics.programmingDuration.observe(label, (now - trigger) / 1000);
    }
    metrics.serviceChanges.inc(services);
    metrics.endpointChanges.inc(slices);
    metrics.serviceChangesPending.set(0);
    metrics.endpointChangesPending.set(0);
    for (const { family, policy, count } of this.#gaps.counts()) {
      if (!families.includes(family)) continue;
      metrics.noLocalEndpoints.set({ ip_family: familyLabel(family), traffic_policy: policy }, count);
    }
    metrics.rules(report.rules?.tables ?? []);
  }

  #report({ conflicts, failures = [], describe }: SyncReport, seconds: number): void {
    const { logger, metrics } = this.#options;
    metrics.conflicts.inc(conflicts.length);
    for (const { id, owner, what } of conflicts) {
      logger.warn({ service: id, owner }, `${id}: ${what} belongs to ${owner} already`);
    }
    metrics.failedParts.set(failures.length);
    const texts = failures.map(({ subject, message }) => `${subject}: ${message}`);
    for (const text of texts) {
      if (!this.#failures.has(text)) logger.error(`${text}; the rest is programmed, trying again`);
    }
    this.#failures.clear();
    for (const text of texts) this.#failures.add(text);
    if (!logger.isLevelEnabled('debug')) return;
    logger.debug({ seconds, changes: describe().slice(0, LOGGED_LINES) }, 'programmed');
  }
}
