import { performance } from 'node:perf_hooks';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { Registry } from 'prom-client';
import type { ApiClient } from '../cluster/api-client.ts';
import { Informer } from '../cluster/informer.ts';
import { ENDPOINT_SLICES, SERVICES } from '../cluster/resource-type.ts';
import { describeError } from '../errors/flatnet-error.ts';
import { ConntrackSocket } from '../kernel/conntrack/conntrack-socket.ts';
import type { ConntrackKernel } from '../kernel/conntrack/objects.ts';
import { NftSocket } from '../kernel/nft/nft-socket.ts';
import { releaseMemory } from '../kernel/libc/release-memory.ts';
import type { NftKernel } from '../kernel/nft/objects.ts';
import type { Logger } from '../log/logger.ts';
import type { Cidr } from '../net/cidr.ts';
import type { Ip } from '../net/ip.ts';
import { Backoff, sleep } from '../timing/backoff.ts';
import type { SyncReport } from './backend.ts';
import { NftablesBackend } from './backends/nftables/backend.ts';
import { ProxyMetrics } from './metrics.ts';
import type { ProxySettings } from './settings.ts';
import { ServiceModel } from './services/model.ts';
import type { Problem } from './services/problem.ts';
import { projectService, PROXY_NAME_LABEL, type ServiceSpec } from './services/service-spec.ts';
import { projectSlice, type SliceSpec } from './services/slice-spec.ts';

export interface ServiceProxyOptions {
  readonly client: ApiClient;
  /** This node's name, as it stands in `nodeName` of endpoints. */
  readonly nodeName: string;
  /** The node's own addresses (InternalIPs): node ports answer there. Families that it has none of are left out. */
  readonly nodeIps: readonly Ip[];
  /** Pod ranges of the whole cluster: other sources that call a ClusterIP are masqueraded. Empty: none are. */
  readonly clusterCidrs: readonly Cidr[];
  /** Service ranges: packets to addresses there that no Service has are dropped. Empty: they go their way. */
  readonly serviceCidrs?: readonly Cidr[];
  /** Masquerade everything that calls a ClusterIP. Default false. */
  readonly masqueradeAll?: boolean;
  /** Bit of the packet mark that asks for masquerade. Default 14 (0x4000), as kube-proxy. */
  readonly masqueradeBit?: number;
  readonly registry: Registry;
  readonly logger: Logger;
  /** Default: nf_tables and connection tracking of the process's own network namespace. */
  readonly kernel?: { readonly nft: NftKernel; readonly conntrack: ConntrackKernel };
}

/** What /healthz tells of the proxy. */
export interface ProxyHealth {
  /** Rules of everything that is known are in the kernel, and the last change was taken. */
  readonly healthy: boolean;
  /** When the kernel last took a change; milliseconds since the epoch. */
  readonly lastSyncMs?: number;
  /** Why not healthy. */
  readonly reason?: string;
}

/** Not for this proxy, or nothing to balance. */
const SELECTOR = `!${PROXY_NAME_LABEL},!service.kubernetes.io/headless`;
/** How often it is asked whether somebody else changed nf_tables. */
const AUDIT_INTERVAL_MS = 30_000;
/** So many elements of one transaction are written to the debug log. */
const LOGGED_CHANGES = 100;

/**
 * The node's service proxy in nftables mode: Services and EndpointSlices of the API in, elements of nftables maps
 * out. What is in the kernel when it starts is adopted, and stays when it ends.
 */
export class ServiceProxy {
  readonly #options: ServiceProxyOptions;
  readonly #metrics: ProxyMetrics;
  readonly #model = new ServiceModel();
  readonly #services: Informer<Service, ServiceSpec>;
  readonly #slices: Informer<EndpointSlice, SliceSpec>;
  readonly #problems = new Set<string>();
  readonly #synced: Promise<void>;
  #tellSynced: () => void = () => {};
  /** Aborted when the audit shall look at once. */
  #wake = new AbortController();
  /** When what is about to be programmed happened, ms since the epoch. */
  #triggers: number[] = [];
  /** Changes that are told but not yet in the kernel. */
  #pending = { services: 0, slices: 0 };
  #backend: NftablesBackend | undefined;
  #flushQueued = false;
  #failure: string | undefined = 'not started';
  #lastSyncMs: number | undefined;

  constructor(options: ServiceProxyOptions) {
    this.#options = options;
    this.#synced = new Promise((resolve) => (this.#tellSynced = resolve));
    this.#metrics = new ProxyMetrics(options.registry);
    const { client, logger, nodeName } = options;
    const common = { labelSelector: SELECTOR, logger };
    this.#services = new Informer(client, SERVICES, { ...common, project: projectService });
    this.#slices = new Informer(client, ENDPOINT_SLICES, {
      ...common,
      project: (slice: EndpointSlice) => projectSlice(slice, nodeName),
    });
  }

  /** Follows the cluster until the signal is aborted. Rejects only if the kernel cannot serve the proxy at all. */
  async run(signal: AbortSignal): Promise<void> {
    const kernel = this.#options.kernel ?? { nft: NftSocket.open(), conntrack: ConntrackSocket.open() };
    const { masqueradeAll = false, masqueradeBit = 14, serviceCidrs = [] } = this.#options;
    const { nodeIps, clusterCidrs } = this.#options;
    const settings: ProxySettings = {
      families: ([4, 6] as const).filter((family) => nodeIps.some((ip) => ip.family === family)),
      nodeIps,
      nodePortAddresses: nodeIps,
      localhostNodePorts: false,
      localTraffic: clusterCidrs.length === 0 ? { kind: 'none' } : { kind: 'cidrs', cidrs: clusterCidrs },
      serviceCidrs,
      masqueradeAll,
      masqueradeBit,
    };
    const backend = new NftablesBackend(kernel.nft, settings, kernel.conntrack);
    this.#failure = 'Services and EndpointSlices are not known yet';
    const unsubscribe = this.#subscribe();
    // Ended from here too: a kernel that refuses must not leave the informers running.
    const end = new AbortController();
    const following = AbortSignal.any([signal, end.signal]);
    const informers = Promise.all([this.#services.run(following), this.#slices.run(following)]);
    try {
      await backend.prepare();
      await Promise.all([this.#services.synced(signal), this.#slices.synced(signal)]);
      await this.#rebuild(backend, signal);
      if (signal.aborted) return;
      this.#backend = backend;
      this.#tellSynced();
      this.#flush();
      // Lists, plans and the transaction of a whole cluster: several times what stays.
      setImmediate(releaseMemory);
      await this.#audit(backend, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#backend = undefined;
      end.abort();
      unsubscribe();
      await informers;
      kernel.nft.close();
      kernel.conntrack.close();
    }
  }

  /** Resolves when the first complete sync is in the kernel. */
  async synced(): Promise<void> {
    await this.#synced;
  }

  health(): ProxyHealth {
    const lastSync = this.#lastSyncMs === undefined ? {} : { lastSyncMs: this.#lastSyncMs };
    if (this.#failure === undefined) return { healthy: true, ...lastSync };
    return { healthy: false, reason: this.#failure, ...lastSync };
  }

  #subscribe(): () => void {
    const service = (spec: ServiceSpec): void => {
      this.#pending.services += 1;
      this.#tell('Service', spec.key, spec.problems);
      this.#model.setService(spec);
      this.#queueFlush();
    };
    const slice = (spec: SliceSpec, key: string, old?: SliceSpec): void => {
      this.#pending.slices += 1;
      this.#tell('EndpointSlice', key, spec.problems);
      if (spec.changedAtMs !== 0 && spec.changedAtMs !== old?.changedAtMs) {
        this.#triggers.push(spec.changedAtMs);
      }
      this.#model.setSlice(key, spec, old);
      this.#queueFlush();
    };
    const ends = [
      this.#services.subscribe({
        added: service,
        updated: service,
        deleted: (spec) => {
          this.#pending.services += 1;
          this.#tell('Service', spec.key, []);
          this.#model.deleteService(spec.key);
          this.#queueFlush();
        },
      }),
      this.#slices.subscribe({
        added: (spec, key) => slice(spec, key),
        updated: (spec, old, key) => slice(spec, key, old),
        deleted: (old, key) => {
          this.#pending.slices += 1;
          this.#tell('EndpointSlice', key, []);
          this.#model.deleteSlice(key, old);
          this.#queueFlush();
        },
      }),
    ];
    return () => ends.forEach((end) => end());
  }

  #tell(kind: string, key: string, problems: readonly Problem[]): void {
    if (problems.length === 0 && this.#problems.size === 0) return;
    const object = `${kind} ${key}`;
    for (const { field, message } of problems) {
      this.#options.logger.warn({ object, field }, `${object}: ${field}: ${message}; the rest is programmed`);
    }
    if (problems.length > 0) this.#problems.add(object);
    else if (!this.#problems.delete(object)) return;
    this.#metrics.invalidObjects.set(this.#problems.size);
  }

  /** Everything that arrives in one turn of the event loop goes into one transaction. */
  #queueFlush(): void {
    if (this.#flushQueued || this.#backend === undefined) return;
    this.#flushQueued = true;
    this.#metrics.lastQueued.set(Date.now() / 1000);
    setImmediate(() => {
      this.#flushQueued = false;
      this.#flush();
    });
  }

  #flush(): void {
    const backend = this.#backend;
    // Without: a full sync is under way, or nothing runs any more.
    if (backend === undefined || !this.#model.pending) return;
    void this.#update(backend);
  }

  async #update(backend: NftablesBackend): Promise<void> {
    const started = performance.now();
    try {
      this.#done(started, await backend.update(this.#model.drain()), this.#metrics.partialSyncDuration);
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Full sync, tried until it succeeds. */
  async #rebuild(backend: NftablesBackend, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ initialMs: 100, maxMs: 10_000 });
    // What happened before this process was there tells nothing of how quick it is.
    if (this.#lastSyncMs === undefined) this.#triggers = [];
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      const started = performance.now();
      try {
        if (attempt > 1 || this.#lastSyncMs !== undefined) await backend.prepare();
        this.#done(started, await backend.rebuild(this.#model.drainAll()), this.#metrics.fullSyncDuration);
        return;
      } catch (error) {
        this.#failed(error);
        await sleep(backoff.next(), signal);
      }
    }
  }

  /** Repairs what a refused transaction or somebody else left behind. */
  async #audit(backend: NftablesBackend, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#failure === undefined)
        await sleep(AUDIT_INTERVAL_MS, AbortSignal.any([signal, this.#wake.signal]));
      this.#wake = new AbortController();
      if (signal.aborted) return;
      if (this.#failure === undefined && !(await backend.foreignChange())) continue;
      this.#backend = undefined;
      await this.#rebuild(backend, signal);
      this.#backend = backend;
      this.#flush();
    }
  }

  #done(started: number, report: SyncReport, histogram: ProxyMetrics['syncDuration']): void {
    const metrics = this.#metrics;
    const seconds = (performance.now() - started) / 1000;
    const now = Date.now();
    histogram.observe(seconds);
    metrics.syncDuration.observe(seconds);
    for (const trigger of this.#triggers) metrics.programmingDuration.observe((now - trigger) / 1000);
    this.#triggers = [];
    metrics.serviceChanges.inc(this.#pending.services);
    metrics.endpointChanges.inc(this.#pending.slices);
    this.#pending = { services: 0, slices: 0 };
    this.#showPending();
    metrics.lastSync.set(now / 1000);
    this.#lastSyncMs = now;
    this.#failure = undefined;
    for (const { id, owner, what } of report.conflicts) {
      this.#options.logger.warn({ service: id, owner }, `${id}: ${what} belongs to ${owner} already`);
    }
    const { logger } = this.#options;
    if (!logger.isLevelEnabled('debug')) return;
    logger.debug({ seconds, changes: report.describe().slice(0, LOGGED_CHANGES) }, 'programmed');
  }

  #showPending(): void {
    this.#metrics.serviceChangesPending.set(this.#pending.services);
    this.#metrics.endpointChangesPending.set(this.#pending.slices);
  }

  #failed(error: unknown): void {
    this.#showPending();
    this.#failure = describeError(error);
    this.#metrics.failures.inc();
    this.#wake.abort();
    this.#options.logger.error({ err: error }, `cannot program Services: ${this.#failure}`);
  }
}
