import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../cluster/api-client.ts';
import { Informer } from '../cluster/informer.ts';
import { ENDPOINT_SLICES, SERVICES } from '../cluster/resource-type.ts';
import type { Logger } from '../log/logger.ts';
import type { ProxyMetrics } from './metrics.ts';
import { SERVICE_MESSAGE, sliceMessage } from './services/messages.ts';
import type { ServiceModel } from './services/model.ts';
import type { Problem } from './services/problem.ts';
import {
  projectReadService,
  projectService,
  PROXY_NAME_LABEL,
  type ServiceSpec,
} from './services/service-spec.ts';
import {
  projectReadSlice,
  projectSlice,
  type SliceReading,
  type NodeTopology,
  type SliceSpec,
} from './services/slice-spec.ts';

export interface ClusterFollowerOptions {
  readonly client: ApiClient;
  readonly model: ServiceModel;
  readonly metrics: ProxyMetrics;
  readonly logger: Logger;
  /** The model has something new. */
  readonly changed: () => void;
}

/** Not for this proxy, or nothing to balance. */
const SELECTOR = `!${PROXY_NAME_LABEL},!service.kubernetes.io/headless`;

/** Of one object, so that no user can fill the log with one. */
const TOLD_PROBLEMS = 20;

type Slices = Informer<EndpointSlice, SliceSpec>;

/** Changes that are in the model since the last look. */
export interface ModelChanges {
  readonly services: number;
  readonly slices: number;
  /** When they happened, ms since the epoch, where the cluster tells. */
  readonly triggers: readonly number[];
}

/** Services and EndpointSlices of the API server, kept in the model. */
export class ClusterFollower {
  readonly #options: ClusterFollowerOptions;
  readonly #services: Informer<Service, ServiceSpec>;
  /** What was told of each object that has some. */
  readonly #problems = new Map<string, string>();
  #topology: NodeTopology;
  #slices: Slices;
  /** Slices that the model has from before the node's zone changed, until they are listed again. */
  #left = new Map<string, SliceSpec>();
  #moved = new AbortController();
  #triggers: number[] = [];
  #pending = { services: 0, slices: 0 };

  constructor(options: ClusterFollowerOptions, topology: NodeTopology) {
    this.#options = options;
    this.#topology = topology;
    const { client, logger } = options;
    this.#services = new Informer(client, SERVICES, {
      labelSelector: SELECTOR,
      logger,
      project: projectService,
      protobuf: { message: SERVICE_MESSAGE, project: projectReadService },
    });
    this.#slices = this.#openSlices();
  }

  /** Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const end = this.#subscribeServices();
    await Promise.all([this.#services.run(signal), this.#followSlices(signal)]);
    end();
  }

  /** Resolves when all Services and slices are in the model; rejects with the signal's reason. */
  async synced(signal: AbortSignal): Promise<void> {
    await this.#services.synced(signal);
    // Another one takes the place of the informer when the zone changes meanwhile.
    while (!this.#slices.hasSynced) {
      const either = AbortSignal.any([signal, this.#moved.signal]);
      await this.#slices.synced(either).catch(() => signal.throwIfAborted());
      await new Promise(setImmediate);
    }
  }

  /** Hints were read as the zone was: slices are listed again. */
  setZone(zone: string): void {
    if (zone === this.#topology.zone) return;
    this.#topology = { ...this.#topology, zone };
    this.#moved.abort();
  }

  /** What came since the last call; begins to count anew. */
  takeChanges(): ModelChanges {
    const changes = { ...this.#pending, triggers: this.#triggers };
    this.#pending = { services: 0, slices: 0 };
    this.#triggers = [];
    return changes;
  }

  #openSlices(): Slices {
    const { client, logger } = this.#options;
    const topology = this.#topology;
    return new Informer(client, ENDPOINT_SLICES, {
      labelSelector: SELECTOR,
      logger,
      project: (slice: EndpointSlice) => projectSlice(slice, topology),
      protobuf: {
        message: sliceMessage(topology),
        project: (slice: object) => projectReadSlice(slice as SliceReading),
      },
    });
  }

  async #followSlices(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const slices = this.#slices;
      this.#moved = new AbortController();
      const ended = AbortSignal.any([signal, this.#moved.signal]);
      const end = this.#subscribeSlices(slices);
      const listed = slices.synced(ended).then(
        () => this.#dropLeft(),
        () => undefined,
      );
      await Promise.all([slices.run(ended), listed]);
      end();
      if (signal.aborted) return;
      for (const [key, spec] of slices.entries()) this.#left.set(key, spec);
      this.#slices = this.#openSlices();
    }
  }

  #dropLeft(): void {
    for (const [key, spec] of this.#left) this.#deleteSlice(spec, key);
    this.#left.clear();
  }

  #subscribeServices(): () => void {
    const set = (spec: ServiceSpec): void => {
      this.#pending.services += 1;
      this.#tell('Service', spec.key, spec.problems);
      this.#options.model.setService(spec);
      this.#changed();
    };
    return this.#services.subscribe({
      added: set,
      updated: set,
      deleted: (spec) => {
        this.#pending.services += 1;
        this.#tell('Service', spec.key, []);
        this.#options.model.deleteService(spec.key);
        this.#changed();
      },
    });
  }

  #subscribeSlices(slices: Slices): () => void {
    return slices.subscribe({
      added: (spec, key) => {
        this.#setSlice(spec, key, this.#left.get(key));
        this.#left.delete(key);
      },
      updated: (spec, old, key) => this.#setSlice(spec, key, old),
      deleted: (old, key) => this.#deleteSlice(old, key),
    });
  }

  #setSlice(spec: SliceSpec, key: string, old: SliceSpec | undefined): void {
    this.#pending.slices += 1;
    this.#tell('EndpointSlice', key, spec.problems);
    if (spec.changedAtMs !== 0 && spec.changedAtMs !== old?.changedAtMs)
      this.#triggers.push(spec.changedAtMs);
    this.#options.model.setSlice(key, spec, old);
    this.#changed();
  }

  #deleteSlice(old: SliceSpec, key: string): void {
    this.#pending.slices += 1;
    this.#tell('EndpointSlice', key, []);
    this.#options.model.deleteSlice(key, old);
    this.#changed();
  }

  #changed(): void {
    const { metrics, changed } = this.#options;
    metrics.serviceChangesPending.set(this.#pending.services);
    metrics.endpointChangesPending.set(this.#pending.slices);
    changed();
  }

  #tell(kind: string, key: string, problems: readonly Problem[]): void {
    if (problems.length === 0 && this.#problems.size === 0) return;
    const { logger, metrics } = this.#options;
    const object = `${kind} ${key}`;
    const text = problems.map(({ field, message }) => `${field}: ${message}`).join('\n');
    // An object that changes often has the same mistakes each time.
    if (text === (this.#problems.get(object) ?? '')) return;
    for (const { field, message } of problems.slice(0, TOLD_PROBLEMS)) {
      logger.warn({ object, field }, `${object}: ${field}: ${message}; the rest is programmed`);
    }
    const more = problems.length - TOLD_PROBLEMS;
    if (more > 0) logger.warn({ object }, `${object}: ${more} more fields are wrong`);
    if (problems.length > 0) this.#problems.set(object, text);
    else this.#problems.delete(object);
    metrics.invalidObjects.set(this.#problems.size);
  }
}
