import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { ServiceModel } from '../../../src/proxy/services/model.ts';
import type { ServicePort, ServicePortChange } from '../../../src/proxy/services/service-port.ts';
import { projectService } from '../../../src/proxy/services/service-spec.ts';
import { projectSlice, type SliceSpec } from '../../../src/proxy/services/slice-spec.ts';
import { NAMESPACE } from './objects.ts';
import type { Change } from './random-objects.ts';
import type { SlowModel } from './slow-model.ts';
import { TOPOLOGY } from './test-cluster.ts';

/** API objects that change at random, told to the proxy's model and to the slow one. */
export class RandomCluster {
  readonly #services = new Map<string, Service>();
  readonly #slices = new Map<string, EndpointSlice>();
  readonly #specs = new Map<string, SliceSpec>();
  readonly #model = new ServiceModel();
  readonly #slow: SlowModel;

  constructor(slow: SlowModel) {
    this.#slow = slow;
  }

  /** Makes the changes; returns what the proxy's model tells of them. */
  take(changes: readonly Change[]): ServicePortChange[] {
    for (const change of changes) this.#takeOne(change);
    this.#slow.settle();
    return this.#model.drain();
  }

  /** All service ports as a process would find them that starts now. */
  fromScratch(): ServicePort[] {
    const model = new ServiceModel();
    for (const service of this.#services.values()) model.setService(projectService(service));
    for (const [key, slice] of this.#slices) model.setSlice(key, projectSlice(slice, TOPOLOGY));
    return [...model.drainAll()];
  }

  #takeOne(change: Change): void {
    if (change.kind === 'service') this.#setService(change);
    else if (change.kind === 'slice') this.#setSlice(change.slice);
    else if (change.kind === 'endpoints') {
      const before = this.#slices.get(keyOf(change.slice.metadata?.name));
      this.#setSlice(before === undefined ? change.slice : { ...before, endpoints: change.slice.endpoints });
    } else if (change.kind === 'no service') {
      const key = keyOf(change.name);
      this.#services.delete(key);
      this.#model.deleteService(key);
      this.#slow.setService(key, undefined);
    } else this.#deleteSlice(keyOf(change.name));
  }

  #setService({ name, spec, ingress, foreign, parts }: Change & { kind: 'service' }): void {
    const key = keyOf(name);
    const before = this.#services.get(key);
    const whole = new Map<string, unknown>(Object.entries({ ...spec, ingress }));
    const old = new Map<string, unknown>(
      Object.entries({ ...before?.spec, ingress: before?.status?.loadBalancer?.ingress ?? [] }),
    );
    const changed = before === undefined ? [...whole.keys()] : [...parts];
    if (changed.includes('clusterIPs')) changed.push('clusterIP');
    if (changed.includes('sessionAffinity')) changed.push('sessionAffinityConfig');
    for (const part of changed) {
      if (whole.has(part)) old.set(part, whole.get(part));
      else old.delete(part);
    }
    const { ingress: addresses, ...nextSpec } = Object.fromEntries(old);
    const service = {
      metadata: {
        namespace: NAMESPACE,
        name,
        ...(foreign ? { labels: { 'service.kubernetes.io/service-proxy-name': 'other' } } : {}),
      },
      spec: nextSpec,
      status: { loadBalancer: { ingress: addresses } },
    } as Service;
    this.#services.set(key, service);
    this.#model.setService(projectService(service));
    this.#slow.setService(key, service);
  }

  #setSlice(slice: EndpointSlice): void {
    const key = keyOf(slice.metadata?.name);
    const spec = projectSlice(slice, TOPOLOGY);
    this.#slices.set(key, slice);
    this.#model.setSlice(key, spec, this.#specs.get(key));
    this.#specs.set(key, spec);
    this.#slow.setSlice(key, slice);
  }

  #deleteSlice(key: string): void {
    const spec = this.#specs.get(key);
    if (spec !== undefined) this.#model.deleteSlice(key, spec);
    this.#specs.delete(key);
    this.#slices.delete(key);
    this.#slow.setSlice(key, undefined);
  }
}

const keyOf = (name: string | undefined): string => `${NAMESPACE}/${name ?? ''}`;
