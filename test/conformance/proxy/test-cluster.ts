import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { ConntrackKernel } from '../../../src/kernel/conntrack/objects.ts';
import type { ProxyBackend, SyncReport } from '../../../src/proxy/backend.ts';
import { ServiceModel } from '../../../src/proxy/services/model.ts';
import { projectService } from '../../../src/proxy/services/service-spec.ts';
import { projectSlice, type NodeTopology, type SliceSpec } from '../../../src/proxy/services/slice-spec.ts';
import { StaleFlows } from '../../../src/proxy/stale-flows.ts';
import { serviceObject, sliceObjects, type TestService } from './objects.ts';
import { NODE_NAME, nodeAddresses } from './topology.ts';

/** The zone that the node with the proxy is in. */
export const ZONE = 'east';
export const TOPOLOGY: NodeTopology = { nodeName: NODE_NAME, zone: ZONE };

/**
 * API objects through the model into one backend, as ServiceProxy does it. Changes may be told at any time; the backend
 * gets them one after the other.
 */
export class TestCluster {
  readonly model = new ServiceModel();
  #backend: ProxyBackend;
  readonly #slices = new Map<string, SliceSpec>();
  readonly #slicesOf = new Map<string, readonly string[]>();
  readonly #flows: StaleFlows | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  /** `conntrack`: stale UDP flows are removed there. */
  constructor(backend: ProxyBackend, conntrack?: ConntrackKernel) {
    this.#backend = backend;
    if (conntrack === undefined) return;
    const own = new Set([...nodeAddresses(4), ...nodeAddresses(6)]);
    this.#flows = new StaleFlows({
      conntrack,
      servingEndpoints: (port) => this.model.servingEndpoints(port),
      nodeAddresses: () => own,
    });
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
      for (const { id, port } of changes) this.#flows?.set(id, port);
      this.#flows?.clean();
    });
  }

  /** Everything anew, as at the start of a process; on another backend if one is given. */
  async rebuild(next?: ProxyBackend): Promise<SyncReport> {
    return await this.#inTurn(async () => {
      this.#backend = next ?? this.#backend;
      await this.#backend.prepare();
      const ports = [...this.model.drainAll()];
      const report = await this.#backend.rebuild(ports);
      this.#flows?.reset();
      for (const port of ports) this.#flows?.set(port.id, port);
      this.#flows?.cleanAll([4, 6]);
      return report;
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
