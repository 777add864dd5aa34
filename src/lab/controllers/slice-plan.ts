import type { Endpoint, EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { Diff } from '../../reconcile/diff.ts';
import { sameJson } from './same-json.ts';
import type { EndpointGroup } from './service-endpoints.ts';

/** As kube-controller-manager's --max-endpoints-per-slice. */
const MAX_ENDPOINTS = 100;

/**
 * Pure: the fewest writes that make the slices hold the groups. Endpoints stay in the slice that has them, new
 * ones fill slices that are written anyway, then those with room. `make` builds a slice without endpoints.
 */
export function planSlices(
  groups: readonly EndpointGroup[],
  existing: readonly EndpointSlice[],
  make: (group: EndpointGroup) => EndpointSlice,
): Diff<EndpointSlice> {
  const left = new Set(existing);
  const add: EndpointSlice[] = [];
  const change: { from: EndpointSlice; to: EndpointSlice }[] = [];
  for (const group of groups) {
    const mine = [...left].filter((slice) => belongs(slice, group));
    const pending = new Map(group.endpoints.map((endpoint) => [identity(endpoint), endpoint]));
    const drafts: { from: EndpointSlice | undefined; endpoints: Endpoint[]; touched: boolean }[] = [];
    for (const from of mine) {
      left.delete(from);
      const endpoints: Endpoint[] = [];
      for (const known of from.endpoints) {
        const endpoint = pending.get(identity(known));
        if (endpoint !== undefined) endpoints.push(endpoint);
        pending.delete(identity(known));
      }
      drafts.push({ from, endpoints, touched: !sameJson(endpoints, from.endpoints) });
    }
    const byUse = [...drafts].sort((a, b) => Number(b.touched) - Number(a.touched));
    for (const draft of byUse) fill(draft.endpoints, pending);
    while (pending.size > 0) {
      const endpoints: Endpoint[] = [];
      fill(endpoints, pending);
      drafts.push({ from: undefined, endpoints, touched: true });
    }
    // One empty slice says that the service has no endpoints; more are of no use.
    const isPlaceholder = group.endpoints.length === 0;
    const base = make(group);
    if (isPlaceholder && drafts.length === 0) add.push(base);
    for (const [position, { from, endpoints }] of drafts.entries()) {
      if (from === undefined) add.push({ ...base, endpoints });
      else if (endpoints.length === 0 && !(isPlaceholder && position === 0)) left.add(from);
      else {
        const to = merged(from, base, endpoints);
        if (!isSame(from, to)) change.push({ from, to });
      }
    }
  }
  return { add, change, remove: [...left] };
}

function fill(endpoints: Endpoint[], pending: Map<string, Endpoint>): void {
  for (const [key, endpoint] of pending) {
    if (endpoints.length >= MAX_ENDPOINTS) return;
    endpoints.push(endpoint);
    pending.delete(key);
  }
}

function identity(endpoint: Endpoint): string {
  return `${endpoint.targetRef?.uid ?? ''} ${endpoint.addresses[0] ?? ''}`;
}

function belongs(slice: EndpointSlice, group: EndpointGroup): boolean {
  if (slice.metadata?.deletionTimestamp !== undefined) return false;
  if (slice.addressType !== group.addressType) return false;
  // An empty slice may take any ports.
  return slice.endpoints.length === 0 || sameJson(slice.ports ?? [], group.ports);
}

function merged(from: EndpointSlice, base: EndpointSlice, endpoints: Endpoint[]): EndpointSlice {
  const annotations = { ...from.metadata?.annotations, ...base.metadata?.annotations };
  const labels = base.metadata?.labels ?? {};
  return {
    ...from,
    ...(base.ports === undefined ? {} : { ports: base.ports }),
    endpoints,
    metadata: { ...from.metadata, labels, annotations },
  };
}

/** The time of the last change alone is no reason to write. */
function isSame(a: EndpointSlice, b: EndpointSlice): boolean {
  return (
    sameJson(a.endpoints, b.endpoints) &&
    sameJson(a.ports ?? [], b.ports ?? []) &&
    sameJson(a.metadata?.labels ?? {}, b.metadata?.labels ?? {})
  );
}
