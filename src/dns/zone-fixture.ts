import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { projectEndpointSlice, projectService } from './zone-objects.ts';
import { ZoneView, type ZoneOptions } from './zone-view.ts';

/** Objects of a cluster as the API gives them, for tests. */
export interface ClusterObjects {
  readonly namespaces: readonly string[];
  readonly services: readonly Service[];
  readonly slices: readonly EndpointSlice[];
}

/** A view that has heard of the objects one after the other. */
export function viewOf(objects: ClusterObjects, options: Partial<ZoneOptions> = {}): ZoneView {
  const view = new ZoneView({ zone: 'cluster.local', ttl: 30, now: () => 1_700_000_000_000, ...options });
  for (const namespace of objects.namespaces) view.setNamespace(namespace);
  for (const service of objects.services) view.setService(keyOf(service), projectService(service));
  for (const slice of objects.slices) view.setEndpointSlice(keyOf(slice), projectEndpointSlice(slice));
  return view;
}

export function keyOf(object: Service | EndpointSlice): string {
  return `${object.metadata?.namespace ?? ''}/${object.metadata?.name ?? ''}`;
}

export function service(namespace: string, name: string, spec: Service['spec']): Service {
  return { metadata: { namespace, name }, ...(spec !== undefined && { spec }) };
}

export function slice(
  namespace: string,
  service: string,
  endpoints: EndpointSlice['endpoints'],
  ports: EndpointSlice['ports'] = [],
  suffix = 'x',
): EndpointSlice {
  const v6 = endpoints[0]?.addresses[0]?.includes(':') === true;
  return {
    metadata: {
      namespace,
      name: `${service}-${suffix}`,
      labels: { 'kubernetes.io/service-name': service },
    },
    addressType: v6 ? 'IPv6' : 'IPv4',
    endpoints,
    ports,
  };
}
