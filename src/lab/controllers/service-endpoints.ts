import { isIPv4 } from 'node:net';
import type { Pod, Service, ServicePort } from 'kubernetes-types/core/v1.js';
import type { Endpoint, EndpointHints, EndpointPort } from 'kubernetes-types/discovery/v1.js';
import { matchesLabels } from './label-selector.ts';
import { isReady, isTerminal, readySince } from './pod-state.ts';

export type AddressType = 'IPv4' | 'IPv6';

/** Endpoints that share their ports: named target ports may stand for other numbers in other pods. */
export interface EndpointGroup {
  readonly addressType: AddressType;
  readonly ports: readonly EndpointPort[];
  readonly endpoints: Endpoint[];
}

/** Whether the service's endpoints are kept by a selector, not by a person. */
export function hasSelectedEndpoints(service: Service): boolean {
  return Object.keys(service.spec?.selector ?? {}).length > 0 && service.spec?.type !== 'ExternalName';
}

export function selectsPod(service: Service, pod: Pod): boolean {
  return hasSelectedEndpoints(service) && matchesLabels(service.spec?.selector, pod.metadata?.labels);
}

/** What of a pod appears in endpoints; other changes of it concern no service. */
export function endpointFacts(pod: Pod): unknown {
  return [
    pod.metadata?.labels,
    pod.metadata?.deletionTimestamp === undefined,
    pod.status?.podIPs,
    pod.status?.podIP,
    pod.spec?.nodeName,
    isReady(pod),
    isTerminal(pod),
  ];
}

/** Pure: the endpoints of a service, by address family and ports. `zoneOf` names the zone of a node. */
export function endpointGroups(
  service: Service,
  pods: readonly Pod[],
  zoneOf: (node: string) => string | undefined,
): EndpointGroup[] {
  const groups = new Map<string, EndpointGroup>();
  for (const addressType of addressTypes(service)) {
    for (const pod of pods) {
      const address = addressOf(pod, addressType);
      if (address === undefined || isTerminal(pod)) continue;
      const ports = portsOf(service, pod);
      const key = `${addressType} ${JSON.stringify(ports)}`;
      const group = groups.get(key) ?? { addressType, ports, endpoints: [] };
      groups.set(key, group);
      group.endpoints.push(endpointOf(service, pod, address, zoneOf));
    }
  }
  return [...groups.values()];
}

export function addressTypes(service: Service): AddressType[] {
  const families = service.spec?.ipFamilies ?? [];
  if (families.length > 0) return families.map((family) => (family === 'IPv6' ? 'IPv6' : 'IPv4'));
  const ip = service.spec?.clusterIP;
  return [ip === undefined || ip === 'None' || ip === '' || isIPv4(ip) ? 'IPv4' : 'IPv6'];
}

function addressOf(pod: Pod, addressType: AddressType): string | undefined {
  const addresses = pod.status?.podIPs?.map(({ ip }) => ip) ?? [pod.status?.podIP];
  return addresses.find((ip) => ip !== undefined && ip !== '' && isIPv4(ip) === (addressType === 'IPv4'));
}

/** A port whose name no container of the pod has is left out of that pod's endpoints. */
function portsOf(service: Service, pod: Pod): EndpointPort[] {
  const ports: EndpointPort[] = [];
  for (const port of service.spec?.ports ?? []) {
    const number = targetPort(port, pod);
    if (number === undefined) continue;
    ports.push({
      name: port.name ?? '',
      port: number,
      protocol: port.protocol ?? 'TCP',
      ...(port.appProtocol === undefined ? {} : { appProtocol: port.appProtocol }),
    });
  }
  return ports.sort((a, b) => ((a.name ?? '') < (b.name ?? '') ? -1 : 1));
}

function targetPort(port: ServicePort, pod: Pod): number | undefined {
  const target = port.targetPort ?? port.port;
  if (typeof target === 'number') return target === 0 ? port.port : target;
  for (const container of pod.spec?.containers ?? []) {
    for (const candidate of container.ports ?? []) {
      const sameProtocol = (candidate.protocol ?? 'TCP') === (port.protocol ?? 'TCP');
      if (candidate.name === target && sameProtocol) return candidate.containerPort;
    }
  }
  return undefined;
}

/** kubernetes-types is of Kubernetes 1.30, nodes came with 1.33. */
interface Hints extends EndpointHints {
  readonly forNodes?: { readonly name: string }[];
}

/** Where a ready endpoint is preferred (Kubernetes 1.36, staging/src/k8s.io/endpointslice/trafficdist). */
function hintsOf(
  { spec }: Service,
  nodeName: string | undefined,
  zone: string | undefined,
): Hints | undefined {
  const wish = spec?.trafficDistribution;
  if (wish === undefined || !['PreferClose', 'PreferSameZone', 'PreferSameNode'].includes(wish))
    return undefined;
  const hints: Hints = {
    ...(zone === undefined ? {} : { forZones: [{ name: zone }] }),
    ...(wish !== 'PreferSameNode' || nodeName === undefined ? {} : { forNodes: [{ name: nodeName }] }),
  };
  return Object.keys(hints).length === 0 ? undefined : hints;
}

function endpointOf(
  service: Service,
  pod: Pod,
  address: string,
  zoneOf: (node: string) => string | undefined,
): Endpoint {
  const serving = isReady(pod);
  const terminating = pod.metadata?.deletionTimestamp !== undefined;
  const { nodeName, hostname, subdomain } = pod.spec ?? {};
  const zone = nodeName === undefined ? undefined : zoneOf(nodeName);
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  const ready = service.spec?.publishNotReadyAddresses === true || (serving && !terminating);
  const hints = ready ? hintsOf(service, nodeName, zone) : undefined;
  return {
    addresses: [address],
    conditions: { ready, serving, terminating },
    ...(hostname !== undefined && subdomain === service.metadata?.name ? { hostname } : {}),
    ...(nodeName === undefined ? {} : { nodeName }),
    ...(zone === undefined ? {} : { zone }),
    ...(hints === undefined ? {} : { hints }),
    targetRef: { kind: 'Pod', namespace, name, uid },
  };
}

/** RFC 3339 time of the latest change that the endpoints reflect; undefined when nothing tells of one. */
export function lastChange(service: Service, pods: readonly Pod[]): string | undefined {
  const times = [
    Date.parse(service.metadata?.creationTimestamp ?? ''),
    ...pods.map((pod) => readySince(pod) ?? NaN),
  ];
  const latest = Math.max(...times.filter((time) => !Number.isNaN(time)));
  return Number.isFinite(latest) ? new Date(latest).toISOString().replace('.000Z', 'Z') : undefined;
}
