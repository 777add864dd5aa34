import type { EndpointAddress, Endpoints, EndpointSubset, Service } from 'kubernetes-types/core/v1.js';
import type { Endpoint } from 'kubernetes-types/discovery/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { parseKey } from '../../cluster/kube-object.ts';
import { ENDPOINTS } from '../../cluster/resource-type.ts';
import type { ControllerContext } from './context.ts';
import { sameJson } from './same-json.ts';
import {
  addressTypes,
  type EndpointGroup,
  endpointGroups,
  hasSelectedEndpoints,
} from './service-endpoints.ts';
import { onServiceChange, podsOfService } from './service-changes.ts';

/** An Endpoints object holds no more; the annotation says so. */
const MAX_ADDRESSES = 1000;
const OVER_CAPACITY = 'endpoints.kubernetes.io/over-capacity';

/** Keeps the Endpoints object, the older form of EndpointSlices, of every Service that has a selector. */
export function startClassicEndpoints(context: ControllerContext): void {
  const { views, client, signal } = context;
  const queue = context.queue('endpoints', sync, 2);

  async function sync(key: string): Promise<void> {
    const service = views.services.get(key);
    const existing = views.endpoints.get(key);
    if (service === undefined) {
      if (existing?.metadata?.labels?.['endpoints.kubernetes.io/managed-by'] !== undefined) await remove(key);
      return;
    }
    if (!hasSelectedEndpoints(service) || service.metadata?.deletionTimestamp !== undefined) return;
    const wanted = endpointsObject(service, subsetsOf(service));
    if (existing === undefined) {
      try {
        views.endpoints.written(await client.create(ENDPOINTS, wanted, { signal }));
      } catch (error) {
        // Made since: the watch will bring it, and the key comes back.
        if (!hasStatus(error, 409)) throw error;
      }
      return;
    }
    if (isSame(existing, wanted)) return;
    const metadata = { ...existing.metadata, ...wanted.metadata };
    views.endpoints.written(await client.replace(ENDPOINTS, { ...wanted, metadata }, { signal }));
  }

  function subsetsOf(service: Service): EndpointSubset[] {
    const pods = podsOfService(views, service);
    const family = addressTypes(service)[0];
    const groups = endpointGroups(service, pods, () => undefined);
    return groups
      .filter((group) => group.addressType === family)
      .map(subsetOf)
      .filter(isUseful);
  }

  async function remove(key: string): Promise<void> {
    try {
      await client.delete(ENDPOINTS, parseKey(key), { signal });
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
    }
  }

  onServiceChange(views, (key) => queue.add(key));
  views.endpoints.onChange((now, before) => {
    const { namespace = '', name = '' } = (now ?? before)?.metadata ?? {};
    queue.add(`${namespace}/${name}`);
  });
}

function subsetOf(group: EndpointGroup): EndpointSubset {
  // Terminating pods are in neither list.
  const staying = group.endpoints.filter(({ conditions }) => conditions?.terminating !== true);
  const ready = staying.filter(({ conditions }) => conditions?.ready === true);
  const notReady = staying.filter(({ conditions }) => conditions?.ready !== true);
  return {
    ...(ready.length === 0 ? {} : { addresses: ready.map(addressOf).sort(byIp).slice(0, MAX_ADDRESSES) }),
    ...(notReady.length === 0 ? {} : { notReadyAddresses: notReady.map(addressOf).sort(byIp) }),
    ports: group.ports.map(({ name, port, protocol, appProtocol }) => ({
      ...(name === undefined || name === '' ? {} : { name }),
      port: port ?? 0,
      ...(protocol === undefined ? {} : { protocol }),
      ...(appProtocol === undefined ? {} : { appProtocol }),
    })),
  };
}

const isUseful = ({ addresses, notReadyAddresses }: EndpointSubset): boolean =>
  addresses !== undefined || notReadyAddresses !== undefined;

const byIp = (a: EndpointAddress, b: EndpointAddress): number => (a.ip < b.ip ? -1 : 1);

function addressOf({ addresses, hostname, nodeName, targetRef }: Endpoint): EndpointAddress {
  return {
    ip: addresses[0] ?? '',
    ...(hostname === undefined ? {} : { hostname }),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(targetRef === undefined ? {} : { targetRef }),
  };
}

function endpointsObject(service: Service, subsets: EndpointSubset[]): Endpoints {
  const total = subsets.reduce((sum, { addresses = [] }) => sum + addresses.length, 0);
  return {
    metadata: {
      name: service.metadata?.name ?? '',
      namespace: service.metadata?.namespace ?? '',
      labels: {
        ...service.metadata?.labels,
        'endpoints.kubernetes.io/managed-by': 'endpoint-controller',
        ...(service.spec?.clusterIP === 'None' ? { 'service.kubernetes.io/headless': '' } : {}),
      },
      ...(total >= MAX_ADDRESSES ? { annotations: { [OVER_CAPACITY]: 'truncated' } } : {}),
    },
    subsets,
  };
}

function isSame(a: Endpoints, b: Endpoints): boolean {
  return sameJson(a.subsets ?? [], b.subsets ?? []) && sameJson(a.metadata?.labels, b.metadata?.labels);
}
