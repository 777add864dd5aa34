import type { IpFamily } from '../../net/ip.ts';
import { selectEndpoints, type Candidate } from './endpoint-selection.ts';
import { endpointText } from './endpoint-text.ts';
import type { ServicePort, ServicePortChange } from './service-port.ts';
import type { ServiceAddress, ServicePortSpec, ServiceSpec } from './service-spec.ts';
import { LOCAL, READY, type SliceSpec } from './slice-spec.ts';

/**
 * Services and their slices joined to service ports. Takes objects in any order and tells on `drain` the ports of
 * those Services that something happened to; no other Service is looked at.
 */
export class ServiceModel {
  readonly #services = new Map<string, ServiceSpec>();
  /** By Service, then by the slice's own key. */
  readonly #slices = new Map<string, Map<string, SliceSpec>>();
  /** Ids that the last `drain` told of each Service. */
  readonly #told = new Map<string, readonly string[]>();
  readonly #dirty = new Set<string>();

  setService(service: ServiceSpec): void {
    this.#services.set(service.key, service);
    this.#dirty.add(service.key);
  }

  deleteService(key: string): void {
    if (this.#services.delete(key)) this.#dirty.add(key);
  }

  /** `old`: what the same slice was before, as it may have belonged to another Service. */
  setSlice(key: string, slice: SliceSpec, old?: SliceSpec): void {
    if (old !== undefined && old.service !== slice.service) this.deleteSlice(key, old);
    if (slice.service === '') return;
    let slices = this.#slices.get(slice.service);
    if (slices === undefined) this.#slices.set(slice.service, (slices = new Map()));
    slices.set(key, slice);
    this.#dirty.add(slice.service);
  }

  deleteSlice(key: string, old: SliceSpec): void {
    const slices = this.#slices.get(old.service);
    if (slices?.delete(key) !== true) return;
    if (slices.size === 0) this.#slices.delete(old.service);
    this.#dirty.add(old.service);
  }

  get pending(): boolean {
    return this.#dirty.size > 0;
  }

  /** Service ports that may have changed since the last call; deletions first. */
  drain(): ServicePortChange[] {
    const gone: ServicePortChange[] = [];
    const changed: ServicePortChange[] = [];
    for (const key of this.#dirty) {
      const ports = this.portsOf(key);
      const ids = ports.map((port) => port.id);
      for (const id of this.#told.get(key) ?? []) {
        if (!ids.includes(id)) gone.push({ id, port: undefined });
      }
      for (const port of ports) changed.push({ id: port.id, port });
      if (ids.length > 0) this.#told.set(key, ids);
      else this.#told.delete(key);
    }
    this.#dirty.clear();
    return gone.length === 0 ? changed : [...gone, ...changed];
  }

  /**
   * The service ports of all Services, one after the other, so that they need not all be in memory; when the last
   * is taken nothing is pending.
   */
  *drainAll(): Generator<ServicePort> {
    this.#dirty.clear();
    this.#told.clear();
    for (const key of this.#services.keys()) {
      const ports = this.portsOf(key);
      if (ports.length === 0) continue;
      this.#told.set(
        key,
        ports.map(({ id }) => id),
      );
      yield* ports;
    }
  }

  /** The service ports of one Service as they should be now. */
  portsOf(key: string): ServicePort[] {
    const service = this.#services.get(key);
    if (service === undefined) return [];
    const slices = [...(this.#slices.get(key)?.values() ?? [])];
    return service.addresses.flatMap((address) =>
      service.ports.map((port) => toServicePort(service, address, port, slices)),
    );
  }

  /**
   * `address:port` (`[address]:port`) of every endpoint that serves, whatever policies and topology say of it: flows
   * that lead there are no stale ones.
   */
  servingEndpoints(port: ServicePort): Set<string> {
    const slices = [...(this.#slices.get(port.service)?.values() ?? [])];
    const { portName: name, protocol } = port;
    return new Set(
      findCandidates(slices, port.family, { name, protocol }).map((one) =>
        endpointText(one.address, one.port),
      ),
    );
  }

  /** How many pods of the Service on this node are ready; one of both families counts once. */
  readyHere(key: string): number {
    const addresses = { 4: new Set<string>(), 6: new Set<string>() };
    for (const { family, endpoints } of this.#slices.get(key)?.values() ?? []) {
      for (const { address, state } of endpoints) {
        if ((state & READY) !== 0 && (state & LOCAL) !== 0) addresses[family].add(address);
      }
    }
    return Math.max(addresses[4].size, addresses[6].size);
  }
}

function toServicePort(
  service: ServiceSpec,
  { family, address, externalIps, loadBalancerIps, sourceRanges }: ServiceAddress,
  port: ServicePortSpec,
  slices: readonly SliceSpec[],
): ServicePort {
  const reachedFromOutside = port.nodePort !== 0 || externalIps.length > 0 || loadBalancerIps.length > 0;
  const { internalLocal, externalLocal } = service;
  const needs = {
    // Also under the external policy Local: pods and the node itself then reach all endpoints.
    cluster: !internalLocal || reachedFromOutside,
    local: internalLocal || (externalLocal && reachedFromOutside),
  };
  return {
    id: `${service.key}:${port.port}/${port.protocol}/${family}`,
    service: service.key,
    portName: port.name,
    family,
    protocol: port.protocol,
    address,
    port: port.port,
    nodePort: port.nodePort,
    externalIps,
    loadBalancerIps,
    sourceRanges,
    internalLocal,
    externalLocal,
    healthCheckNodePort: service.healthCheckNodePort,
    affinitySeconds: service.affinitySeconds,
    ...selectEndpoints(findCandidates(slices, family, port), needs),
  };
}

/** All endpoints that may be connected to, of all slices. */
function findCandidates(
  slices: readonly SliceSpec[],
  family: IpFamily,
  wanted: Pick<ServicePortSpec, 'name' | 'protocol'>,
): readonly Candidate[] {
  const candidates: Candidate[] = [];
  for (const slice of slices) {
    if (slice.family !== family) continue;
    for (const { name, protocol, port } of slice.ports) {
      if (name !== wanted.name || protocol !== wanted.protocol) continue;
      for (const { address, state } of slice.endpoints) candidates.push({ address, port, state });
    }
  }
  return withoutRepetitions(candidates);
}

/** A pod that moves from slice to slice is in both for a moment: once is enough, and ready if either says so. */
function withoutRepetitions(candidates: readonly Candidate[]): readonly Candidate[] {
  if (new Set(candidates.map(({ address }) => address)).size === candidates.length) return candidates;
  const merged = new Map<string, Candidate>();
  for (const candidate of candidates) {
    const key = `${candidate.address} ${candidate.port}`;
    const state = candidate.state | (merged.get(key)?.state ?? 0);
    merged.set(key, { ...candidate, state });
  }
  return [...merged.values()];
}
