import type { Registry } from 'prom-client';
import type { ApiClient } from '../cluster/api-client.ts';
import { EventRecorder } from '../cluster/event-recorder.ts';
import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import { releaseMemory } from '../kernel/libc/release-memory.ts';
import type { Logger } from '../log/logger.ts';
import type { Cidr } from '../net/cidr.ts';
import { WorkQueue } from '../reconcile/work-queue.ts';
import { retry } from '../timing/backoff.ts';
import type { ProxyBackend, ProxyMode } from './backend.ts';
import { ClusterFollower } from './cluster-follower.ts';
import type { NodeFacts } from './node-facts.ts';
import type { ProxyConfig } from './config/proxy-config.ts';
import { HealthChecks } from './health-checks/health-checks.ts';
import { createProxyMetrics, familyLabel, type ProxyMetrics } from './metrics.ts';
import { removeLeftovers, retireMode } from './mode-switch.ts';
import { openKernels, type ProxyKernels } from './proxy-kernels.ts';
import { HealthState, type ProxyHealth } from './proxy-health.ts';
import { RuleSync, type ActiveBackend } from './rule-sync.ts';
import { ServiceModel } from './services/model.ts';
import type { ProxySettings } from './settings.ts';
import { StaleFlows } from './stale-flows.ts';
import { Surroundings } from './surroundings.ts';
import { SyncOutcome } from './sync-outcome.ts';

export interface ServiceProxyOptions {
  readonly client: ApiClient;
  /** This node's name, as it stands in `nodeName` of endpoints. */
  readonly nodeName: string;
  /** kube-proxy's own, or what a node's agent makes of its own. */
  readonly config: ProxyConfig;
  /** What is known of the node; absent: its Node object is followed. */
  readonly node?: NodeFacts;
  /** Service ranges: packets to addresses there that no Service has are dropped. Absent: ServiceCIDR objects say. */
  readonly serviceCidrs?: readonly Cidr[];
  readonly registry: Registry;
  readonly logger: Logger;
  /** Descriptor of the network namespace to serve; the process's own when absent. */
  readonly netns?: number;
  /** Of that namespace, when absent. */
  readonly kernels?: ProxyKernels;
}

const SETTINGS = 'settings';

/** What is there while the proxy runs. */
interface Running {
  readonly kernels: ProxyKernels;
  readonly surroundings: Surroundings;
  readonly follower: ClusterFollower;
  readonly sync: RuleSync;
  readonly outcome: SyncOutcome;
  readonly healthChecks: HealthChecks;
  readonly signal: AbortSignal;
}

/**
 * The node's service proxy, in any mode: Services and EndpointSlices of the API in, what the mode programs out. What
 * is in the kernel when it starts is adopted, and stays when it ends.
 */
export class ServiceProxy {
  readonly #options: ServiceProxyOptions;
  readonly metrics: ProxyMetrics;
  readonly #model = new ServiceModel();
  readonly #health = new HealthState();
  readonly #synced: Promise<void>;
  #tellSynced: () => void = () => {};
  #config: ProxyConfig;
  /** What the backend in use was opened with. */
  #applied = '';
  #running: Running | undefined;
  /** One change of settings at a time. */
  #turn: Promise<void> = Promise.resolve();

  constructor(options: ServiceProxyOptions) {
    this.#options = options;
    this.#config = options.config;
    this.metrics = createProxyMetrics(
      options.registry,
      () => this.#running?.sync.active?.backend.packetCounts?.() ?? {},
    );
    this.#synced = new Promise((resolve) => (this.#tellSynced = resolve));
  }

  /** The mode that serves, or is about to. */
  get mode(): ProxyMode {
    return this.#running?.sync.active?.backend.mode ?? this.#config.mode;
  }

  health(): ProxyHealth {
    return this.#health.get();
  }

  /** Resolves when the first complete sync is in the kernel. */
  async synced(): Promise<void> {
    await this.#synced;
  }

  /**
   * Goes on with another configuration. A change of mode starts the new mode beside the old one and removes the old
   * one when the new one serves everything. Rejects when the new one cannot: then all stays as it was.
   */
  async switchTo(config: ProxyConfig): Promise<void> {
    const before = this.#config;
    this.#config = config;
    try {
      await this.#applySettings();
    } catch (error) {
      if (this.#config === config) this.#config = before;
      throw error;
    }
  }

  /**
   * Follows the cluster until the signal is aborted. Rejects only if the kernel cannot serve the mode at all, or the
   * Node object does not come (NODE_UNKNOWN).
   */
  async run(signal: AbortSignal): Promise<void> {
    // Ended from here too: a kernel that refuses must not leave the rest running.
    const end = new AbortController();
    const following = AbortSignal.any([signal, end.signal]);
    const { client, nodeName, node, serviceCidrs, logger } = this.#options;
    const kernels = this.#options.kernels ?? openKernels(this.#options);
    const { routes, families } = kernels;
    const about = { client, nodeName, node, serviceCidrs, routes, families, logger };
    const surroundings = new Surroundings(about);
    const background: Promise<void>[] = [];
    try {
      this.#health.waitFor("waiting for the node's addresses");
      if (!(await surroundings.known(this.#config, following))) return;
      const first = await this.#open(kernels, surroundings.settings(this.#config));
      const running = this.#assemble(kernels, surroundings, following);
      background.push(running.follower.run(following), this.#followSettings(running));
      const ready = running.follower.synced(following);
      // Looked at only after the kernel is prepared.
      ready.catch(() => undefined);
      this.#health.waitFor('Services and EndpointSlices are not known yet');
      await running.sync.run(first, ready, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      end.abort();
      this.#running?.healthChecks.close();
      this.#running = undefined;
      await Promise.all([...background, surroundings.ended(), this.#turn]);
      kernels.conntrack?.close();
      routes.close();
    }
  }

  #assemble(kernels: ProxyKernels, surroundings: Surroundings, signal: AbortSignal): Running {
    const { client, nodeName, logger, netns } = this.#options;
    const model = this.#model;
    const { metrics } = this;
    const health = this.#health;
    const { conntrack } = kernels;
    const common = { model, metrics, logger };
    const zone = surroundings.node?.zone ?? '';
    const follower = new ClusterFollower(
      { ...common, client, changed: () => this.#changed() },
      { nodeName, zone },
    );
    const healthChecks = new HealthChecks({
      readyHere: (service) => model.readyHere(service),
      proxyHealthy: () => health.get().live,
      failed: this.#tellOfService(signal),
      logger,
      ...(netns === undefined ? {} : { netns }),
    });
    const flows =
      conntrack &&
      new StaleFlows({
        conntrack,
        servingEndpoints: (port) => model.servingEndpoints(port),
        nodeAddresses: () => surroundings.nodeAddresses(),
      });
    const outcome = new SyncOutcome({
      metrics,
      logger,
      health,
      follower,
      healthChecks,
      flows,
      modelPending: () => model.pending,
      onFirstSync: () => this.#firstSync(),
    });
    const sync = new RuleSync({ model, listener: outcome, logger });
    this.#running = { kernels, surroundings, follower, sync, outcome, healthChecks, signal };
    return this.#running;
  }

  /** For whoever asks `kubectl describe service` why a load balancer leaves this node; reason and words as kube-proxy's. */
  #tellOfService(signal: AbortSignal): (service: string, message: string) => void {
    const { client, nodeName, logger } = this.#options;
    const events = new EventRecorder(client, { component: 'flatnet-proxy', host: nodeName, signal, logger });
    return (service, message) => {
      const [namespace = '', name = ''] = service.split('/');
      const object = { apiVersion: 'v1', kind: 'Service', metadata: { namespace, name } };
      events.record(object, 'Warning', 'FailedToStartServiceHealthcheck', `node ${nodeName}: ${message}`);
    };
  }

  #changed(): void {
    if (!this.#model.pending) return;
    const active = this.#running?.sync.active;
    if (this.#health.queued()) {
      for (const family of active?.families ?? []) {
        this.metrics.lastQueued.set({ ip_family: familyLabel(family) }, Date.now() / 1000);
      }
    }
    this.#running?.sync.changed();
  }

  #firstSync(): void {
    this.#tellSynced();
    const running = this.#running;
    if (running?.sync.active === undefined) return;
    const { kernels, signal } = running;
    const { removeKubeProxyTables } = kernels;
    const { logger } = this.#options;
    const active = this.mode;
    const mayHaveLeft = (mode: ProxyMode): boolean => kernels.mayHaveLeft(mode);
    const open = async (mode: ProxyMode): Promise<ProxyBackend> => this.#openToRemove(mode, kernels);
    this.#turn = this.#turn.then(async () => {
      await removeLeftovers({ active, mayHaveLeft, open, removeKubeProxyTables, logger, signal });
      // Lists, plans and the transaction of a whole cluster: several times what stays.
      releaseMemory();
    });
  }

  async #openToRemove(mode: ProxyMode, kernels: ProxyKernels): Promise<ProxyBackend> {
    // What another mode says of itself when it is opened is of no use here.
    const quiet = this.#options.logger.child({}, { level: 'warn' });
    return kernels.openBackend(mode, this.#settings(), this.#config, quiet);
  }

  /** Until it is gone, or serves again: its rules would go on leading to endpoints of long ago. */
  async #removeLater(mode: ProxyMode, signal: AbortSignal): Promise<void> {
    const { logger } = this.#options;
    const attempt = async (): Promise<void> => {
      const turn = this.#turn.then(async () => {
        if (signal.aborted || this.#running === undefined || this.mode === mode) return;
        await retireMode(await this.#openToRemove(mode, this.#running.kernels), { remove: true, logger });
      });
      this.#turn = turn.catch(() => undefined);
      await turn;
    };
    const onRetry = (error: unknown): void => {
      const text = describeError(error);
      logger.error({ mode, error: text }, `rules of the mode ${mode} are still there, trying again: ${text}`);
    };
    await retry(attempt, { initialMs: 1000, maxMs: 60_000, signal, onRetry }).catch(() => undefined);
  }

  /** What the node and the machine say is followed from when the first sync is there. */
  async #followSettings({ surroundings, healthChecks, signal }: Running): Promise<void> {
    const { logger } = this.#options;
    const queue = new WorkQueue({
      name: 'proxy-settings',
      process: async () => this.#applySettings(),
      maxBackoffMs: 10_000,
      logger,
    });
    this.#look(surroundings);
    healthChecks.listenOn(this.#settings().nodePortAddresses);
    surroundings.onChange = () => {
      this.#look(surroundings);
      queue.add(SETTINGS);
    };
    try {
      surroundings.followAddresses(signal);
    } catch (error) {
      const text = describeError(error);
      logger.error({ error: text }, `changes of this machine's addresses are not followed: ${text}`);
    }
    await queue.run(signal);
  }

  #look({ node }: Surroundings): void {
    if (node === undefined) return;
    this.#health.nodeEligible = node.eligible;
    this.#running?.follower.setZone(node.zone ?? '');
  }

  #settings(): ProxySettings {
    if (this.#running === undefined)
      throw new FlatnetError('the proxy does not run', { code: 'NOT_RUNNING' });
    return this.#running.surroundings.settings(this.#config);
  }

  async #applySettings(): Promise<void> {
    const applied = this.#turn.then(async () => this.#replaceBackend());
    this.#turn = applied.catch(() => undefined);
    await applied;
  }

  async #replaceBackend(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    const { kernels, surroundings, sync, outcome, healthChecks, signal } = running;
    if (!(await surroundings.known(this.#config, signal))) return;
    const before = this.#applied;
    const settings = surroundings.settings(this.#config);
    if (this.#keyOf(settings) === before) return;
    const { logger } = this.#options;
    const next = await this.#open(kernels, settings);
    const retire = async (old: ProxyBackend): Promise<void> => {
      const other = old.mode !== next.backend.mode;
      // The new one serves: no reason to go back.
      await retireMode(old, { remove: other, logger }).catch(() => void this.#removeLater(old.mode, signal));
      // Flows that came while both were there may lead to where the old one led them.
      if (other) outcome.cleanAll(next);
    };
    try {
      await sync.replace(next, retire);
    } catch (error) {
      this.#applied = before;
      throw error;
    }
    logger.info({ mode: next.backend.mode }, 'Services are served with new settings');
    healthChecks.listenOn(settings.nodePortAddresses);
  }

  async #open(kernels: ProxyKernels, settings: ProxySettings): Promise<ActiveBackend> {
    const config = this.#config;
    const periods = config[config.mode === 'userspace' ? 'iptables' : config.mode];
    const backend = await kernels.openBackend(config.mode, settings, config, this.#options.logger);
    this.#applied = this.#keyOf(settings);
    this.#health.timeoutMs = 2 * periods.syncPeriod;
    return { backend, families: settings.families, minSyncPeriodMs: periods.minSyncPeriod };
  }

  /** Two that are the same need no new backend. */
  #keyOf(settings: ProxySettings): string {
    const { mode, iptables, ipvs, nftables, portRange, udpIdleTimeout } = this.#config;
    return JSON.stringify([mode, settings, iptables, ipvs, nftables, portRange, udpIdleTimeout]);
  }
}
