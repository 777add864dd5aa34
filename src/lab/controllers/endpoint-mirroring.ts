import { isIPv4 } from 'node:net';
import type { EndpointAddress, Endpoints, EndpointSubset } from 'kubernetes-types/core/v1.js';
import type { Endpoint, EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { keyOf, parseKey, refOf } from '../../cluster/kube-object.ts';
import { ENDPOINT_SLICES, ENDPOINTS } from '../../cluster/resource-type.ts';
import { byService, type ControllerContext } from './context.ts';
import { controlledBy } from './ownership.ts';
import type { EndpointGroup } from './service-endpoints.ts';
import { planSlices } from './slice-plan.ts';

const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
const MANAGER = 'endpointslicemirroring-controller.k8s.io';
const SKIP = 'endpointslice.kubernetes.io/skip-mirror';

/**
 * Makes EndpointSlices of the Endpoints that a person wrote for a Service without selector: proxies read the
 * slices alone.
 */
export function startEndpointMirroring(context: ControllerContext): void {
  const { views, client, signal } = context;
  const queue = context.queue('endpointslice-mirroring', async (key) => {
    const { namespace = '', name } = parseKey(key);
    const endpoints = views.endpoints.get(key);
    const service = views.services.get(key);
    const existing = views.endpointSlices
      .find(byService(namespace, name))
      .filter((slice) => slice.metadata?.labels?.[MANAGED_BY] === MANAGER);
    const isMirrored =
      endpoints !== undefined &&
      service !== undefined &&
      Object.keys(service.spec?.selector ?? {}).length === 0 &&
      endpoints.metadata?.labels?.[SKIP] !== 'true';
    const groups = isMirrored ? (endpoints.subsets ?? []).flatMap(groupsOf) : [];
    const diff = planSlices(groups, existing, (group) => emptySlice(endpoints ?? {}, group));
    for (const slice of diff.add) {
      views.endpointSlices.written(await client.create(ENDPOINT_SLICES, slice, { signal }));
    }
    for (const { to } of diff.change) {
      views.endpointSlices.written(await client.replace(ENDPOINT_SLICES, to, { signal }));
    }
    for (const slice of diff.remove) {
      await client.delete(ENDPOINT_SLICES, refOf(slice), { signal }).catch((error: unknown) => {
        if (!hasStatus(error, 404)) throw error;
      });
    }
  });
  const enqueue = (now: Parameters<typeof keyOf>[0] | undefined, before: typeof now): void => {
    const object = now ?? before;
    if (object !== undefined) queue.add(keyOf(object));
  };
  views.endpoints.onChange(enqueue);
  views.services.onChange(enqueue);
}

/** A subset as groups of one address family each. */
function groupsOf(subset: EndpointSubset): EndpointGroup[] {
  const endpoints = [
    ...(subset.addresses ?? []).map((address) => endpointOf(address, true)),
    ...(subset.notReadyAddresses ?? []).map((address) => endpointOf(address, false)),
  ];
  const ports = (subset.ports ?? []).map((port) => ({ ...port, name: port.name ?? '' }));
  const groups: EndpointGroup[] = [];
  for (const addressType of ['IPv4', 'IPv6'] as const) {
    const mine = endpoints.filter(({ addresses: [ip = ''] }) => isIPv4(ip) === (addressType === 'IPv4'));
    if (mine.length > 0) groups.push({ addressType, ports, endpoints: mine });
  }
  return groups;
}

function endpointOf({ ip, hostname, nodeName, targetRef }: EndpointAddress, ready: boolean): Endpoint {
  return {
    addresses: [ip],
    conditions: { ready },
    ...(hostname === undefined ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(targetRef === undefined ? {} : { targetRef }),
  };
}

function emptySlice(endpoints: Endpoints, group: EndpointGroup): EndpointSlice {
  const { name = '', namespace = '', labels } = endpoints.metadata ?? {};
  return {
    metadata: {
      generateName: `${name}-`,
      namespace,
      labels: { ...labels, 'kubernetes.io/service-name': name, [MANAGED_BY]: MANAGER },
      ownerReferences: [controlledBy(ENDPOINTS, endpoints)],
    },
    addressType: group.addressType,
    ports: [...group.ports],
    endpoints: [],
  };
}
