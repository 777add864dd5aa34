import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { ProxyBackend, SyncReport } from '../../../src/proxy/backend.ts';
import { ServiceModel } from '../../../src/proxy/services/model.ts';
import type { ServicePortChange } from '../../../src/proxy/services/service-port.ts';
import { projectService } from '../../../src/proxy/services/service-spec.ts';
import { projectSlice, type NodeTopology, type SliceSpec } from '../../../src/proxy/services/slice-spec.ts';
import { serviceObject, sliceObjects, type TestService } from './objects.ts';
import { NODE_NAME } from './topology.ts';

/** The zone that the node with the proxy is in. */
export const ZONE = 'east';
export const TOPOLOGY: NodeTopology = { nodeName: NODE_NAME, zone: ZONE };

/** What ServiceProxy does after the backend's update; undefined: nothing. */
type Afterwards = (changes: readonly ServicePortChange[], model: ServiceModel) => void;

/**
 * API objects through the model into one backend, as ServiceProxy does it. Changes may be told at any time; the backend
 * gets them one after the other.
 */
export class TestCluster {
  readonly model = new ServiceModel();
  #backend: ProxyBackend;
  readonly #slices = new Map<string, SliceSpec>();
  readonly #slicesOf = new Map<string, readonly string[]>();
  readonly #afterwards: Afterwards | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(backend: ProxyBackend, afterwards?: Afterwards) {
    this.#backend = backend;
    this.#afterwards = afterwards;
  }

  /** Makes or changes a Service with its slices. */
  async set(...services: readonly TestService[]): Promise<void> {
    for (const service of services) {
      this.takeService(serviceObject(service));
      const slices = sliceObjects(service);
      const names = slices.map((slice) => sliceKey(slice));
      for (const old of this.#slicesOf.get(service.name) ?? []) if (!names.includes(old)) this.#drop(old);
      for (const slice of slices) this.takeSlice(slice);
      this.#slicesOf.set(service.name, names);
    }
    await this.flush();
  }

  async delete(service: TestService): Promise<void> {
    this.model.deleteService(`test/${service.name}`);
    for (const old of this.#slicesOf.get(service.name) ?? []) this.#drop(old);
    this.#slicesOf.delete(service.name);
    await this.flush();
  }

  takeService(service: Service): void {
    this.model.setService(projectService(service));
  }

  takeSlice(slice: EndpointSlice): void {
    const key = sliceKey(slice);
    const spec = projectSlice(slice, TOPOLOGY);
    this.model.setSlice(key, spec, this.#slices.get(key));
    this.#slices.set(key, spec);
  }

  /** Tells the backend what is new. Resolves when it is in the kernel. */
  async flush(): Promise<void> {
    await this.#inTurn(async (backend) => {
      if (!this.model.pending) return;
      const changes = this.model.drain();
      await backend.update(changes);
      this.#afterwards?.(changes, this.model);
    });
  }

  /** Everything anew, as at the start of a process; on another backend if one is given. */
  async rebuild(next?: ProxyBackend): Promise<SyncReport> {
    return await this.#inTurn(async () => {
      this.#backend = next ?? this.#backend;
      await this.#backend.prepare();
      return await this.#backend.rebuild(this.model.drainAll());
    });
  }

  #drop(key: string): void {
    const spec = this.#slices.get(key);
    if (spec !== undefined) this.model.deleteSlice(key, spec);
    this.#slices.delete(key);
  }

  async #inTurn<T>(action: (backend: ProxyBackend) => Promise<T>): Promise<T> {
    const result = this.#queue.then(async () => await action(this.#backend));
    this.#queue = result.catch(() => {});
    return await result;
  }
}

function sliceKey({ metadata }: EndpointSlice): string {
  return `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`;
}
