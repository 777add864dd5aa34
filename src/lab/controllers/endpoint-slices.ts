import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { parseKey, refOf } from '../../cluster/kube-object.ts';
import { ENDPOINT_SLICES, SERVICES } from '../../cluster/resource-type.ts';
import type { WorkQueue } from '../../reconcile/work-queue.ts';
import { byService, type ControllerContext, type Views } from './context.ts';
import { controlledBy } from './ownership.ts';
import {
  addressTypes,
  type EndpointGroup,
  endpointGroups,
  hasSelectedEndpoints,
  lastChange,
} from './service-endpoints.ts';
import { onServiceChange, podsOfService } from './service-changes.ts';
import { planSlices } from './slice-plan.ts';

const MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
const MANAGER = 'endpointslice-controller.k8s.io';
const LAST_CHANGE = 'endpoints.kubernetes.io/last-change-trigger-time';

/** Keeps the EndpointSlices of every Service that has a selector. */
export function startEndpointSlices(context: ControllerContext): void {
  const { views, client, signal } = context;
  const queue = context.queue('endpointslice', sync, 4);

  async function sync(key: string): Promise<void> {
    const { namespace = '', name } = parseKey(key);
    const existing = views.endpointSlices
      .find(byService(namespace, name))
      .filter((slice) => slice.metadata?.labels?.[MANAGED_BY] === MANAGER);
    const service = views.services.get(key);
    // Slices of a service that is gone fall to the garbage collector.
    if (service === undefined) return;
    const diff = planSlices(groupsOf(service), existing, (group) => emptySlice(service, group));
    for (const slice of diff.add) {
      views.endpointSlices.written(await client.create(ENDPOINT_SLICES, slice, { signal }));
    }
    for (const { to } of diff.change) {
      views.endpointSlices.written(await client.replace(ENDPOINT_SLICES, to, { signal }));
    }
    for (const slice of diff.remove) await remove(slice);
  }

  function groupsOf(service: Service): EndpointGroup[] {
    if (!hasSelectedEndpoints(service) || service.metadata?.deletionTimestamp !== undefined) return [];
    const groups = endpointGroups(service, podsOfService(views, service), (node) => zoneOf(node));
    for (const addressType of addressTypes(service)) {
      if (groups.every((group) => group.addressType !== addressType)) {
        groups.push({ addressType, ports: [], endpoints: [] });
      }
    }
    return groups;
  }

  const zoneOf = (node: string): string | undefined =>
    views.nodes.get(node)?.metadata?.labels?.['topology.kubernetes.io/zone'];

  function emptySlice(service: Service, group: EndpointGroup): EndpointSlice {
    const changed = lastChange(service, podsOfService(views, service));
    return {
      metadata: {
        generateName: `${service.metadata?.name ?? ''}-`,
        namespace: service.metadata?.namespace ?? '',
        labels: labelsOf(service),
        annotations: changed === undefined ? {} : { [LAST_CHANGE]: changed },
        ownerReferences: [controlledBy(SERVICES, service)],
      },
      addressType: group.addressType,
      ports: [...group.ports],
      endpoints: [],
    };
  }

  async function remove(slice: EndpointSlice): Promise<void> {
    try {
      await client.delete(ENDPOINT_SLICES, refOf(slice), { signal });
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
    }
  }

  watchSlices(views, queue);
}

function watchSlices(views: Views, queue: WorkQueue): void {
  onServiceChange(views, (key) => queue.add(key));
  // Somebody else's change to a slice of ours is undone.
  views.endpointSlices.onChange((now, before) => {
    const labels = (now ?? before)?.metadata?.labels;
    const service = labels?.['kubernetes.io/service-name'];
    const namespace = (now ?? before)?.metadata?.namespace ?? '';
    if (service !== undefined && labels?.[MANAGED_BY] === MANAGER) queue.add(`${namespace}/${service}`);
  });
}

function labelsOf(service: Service): Record<string, string> {
  return {
    ...service.metadata?.labels,
    'kubernetes.io/service-name': service.metadata?.name ?? '',
    [MANAGED_BY]: MANAGER,
    ...(service.spec?.clusterIP === 'None' ? { 'service.kubernetes.io/headless': '' } : {}),
  };
}
