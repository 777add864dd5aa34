import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { IpFamily } from '../../../src/net/ip.ts';
import type { Protocol } from '../../../src/proxy/services/service-spec.ts';
import { LAST_CHANGE_ANNOTATION, SERVICE_NAME_LABEL } from '../../../src/proxy/services/slice-spec.ts';
import type { EndpointName } from './row.ts';
import { ADDRESSES, NODE_NAME, OTHER_NODE_NAME } from './topology.ts';

export const NAMESPACE = 'test';

export interface TestPort {
  readonly name?: string;
  readonly port: number;
  readonly protocol?: Protocol;
  readonly nodePort?: number;
}

export interface TestEndpoint {
  readonly pod: EndpointName;
  /** Default true; with `ready: false`: not serving either, unless it says so. */
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
  /** Hints. */
  readonly forZones?: readonly string[];
  readonly forNodes?: readonly string[];
}

export interface TestSlice {
  readonly endpoints: readonly TestEndpoint[];
  readonly ports: readonly { readonly name?: string; readonly port: number; readonly protocol?: Protocol }[];
}

/** A Service in both families, and its slices; where it is not said, the usual. */
export interface TestService {
  readonly name: string;
  /** Its number among all: its addresses end with it. */
  readonly number: number;
  readonly type?: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';
  readonly headless?: boolean;
  /** Default: TCP port 80. */
  readonly ports?: readonly TestPort[];
  /** Has an external address of each family. */
  readonly externalIps?: boolean;
  readonly ingress?: 'VIP' | 'Proxy' | 'unsaid';
  readonly sourceRanges?: readonly string[];
  readonly externalLocal?: boolean;
  readonly internalLocal?: boolean;
  readonly affinitySeconds?: number;
  readonly publishNotReadyAddresses?: boolean;
  /** One slice a family of these pods; `slices` otherwise. */
  readonly endpoints?: readonly (EndpointName | TestEndpoint)[];
  readonly slices?: readonly TestSlice[];
  /** Families that it has; default both. */
  readonly families?: readonly IpFamily[];
  /** Labels of Service and slices. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Last changes to the objects: what no API server would let through, say. */
  readonly spoilService?: (service: Service) => void;
  readonly spoilSlice?: (slice: EndpointSlice, family: IpFamily) => void;
}

const FAMILIES = [4, 6] as const;

export function clusterIp(number: number, family: IpFamily): string {
  return family === 4 ? `10.96.1.${number}` : `fd00:10:96::${1000 + number}`;
}

export function externalIp(number: number, family: IpFamily): string {
  return family === 4 ? `198.51.100.${number}` : `2001:db8:51::${number}`;
}

export function loadBalancerIp(number: number, family: IpFamily): string {
  return family === 4 ? `192.0.2.${number}` : `2001:db8:2::${number}`;
}

/** Of the first port. */
export function nodePort(number: number): number {
  return 30_000 + number;
}

export function servicePorts(service: TestService): readonly TestPort[] {
  const reached = service.type === 'NodePort' || service.type === 'LoadBalancer';
  const ports = service.ports ?? [{ port: 80 }];
  if (!reached) return ports;
  return ports.map((port, index) => ({ nodePort: nodePort(service.number) + index * 1000, ...port }));
}

export function serviceObject(service: TestService): Service {
  const object = plainServiceObject(service);
  service.spoilService?.(object);
  return object;
}

function plainServiceObject(service: TestService): Service {
  const { number, type = 'ClusterIP', families = FAMILIES, labels = {}, ingress } = service;
  const clusterIps = service.headless === true ? ['None'] : families.map((one) => clusterIp(number, one));
  const ports = servicePorts(service).map(({ protocol = 'TCP', ...port }) => ({ ...port, protocol }));
  const isExternalName = type === 'ExternalName';
  return {
    metadata: { namespace: NAMESPACE, name: service.name, labels: { ...labels } },
    spec: {
      type,
      ports,
      ...(isExternalName
        ? { externalName: 'example.com' }
        : { clusterIP: clusterIps[0] ?? '', clusterIPs: clusterIps }),
      ...accessOf(service),
      ...affinityOf(service),
    },
    ...(ingress === undefined ? {} : { status: { loadBalancer: { ingress: ingressOf(service, ingress) } } }),
  };
}

function accessOf(service: TestService): NonNullable<Service['spec']> {
  const { number, families = FAMILIES, externalIps, sourceRanges } = service;
  const { externalLocal, internalLocal, publishNotReadyAddresses } = service;
  return {
    ...(externalIps === true ? { externalIPs: families.map((one) => externalIp(number, one)) } : {}),
    ...(sourceRanges === undefined ? {} : { loadBalancerSourceRanges: [...sourceRanges] }),
    ...(externalLocal === true ? { externalTrafficPolicy: 'Local' } : {}),
    ...(internalLocal === true ? { internalTrafficPolicy: 'Local' } : {}),
    ...(publishNotReadyAddresses === true ? { publishNotReadyAddresses } : {}),
  };
}

function affinityOf({ affinitySeconds }: TestService): NonNullable<Service['spec']> {
  if (affinitySeconds === undefined) return {};
  return {
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: affinitySeconds } },
  };
}

function ingressOf(
  { number, families = FAMILIES }: TestService,
  ipMode: NonNullable<TestService['ingress']>,
): { ip: string }[] {
  return families.map((one) => ({
    ip: loadBalancerIp(number, one),
    ...(ipMode === 'unsaid' ? {} : { ipMode }),
  }));
}

export function sliceObjects(service: TestService): EndpointSlice[] {
  const { families = FAMILIES } = service;
  return families.flatMap((family) =>
    slicesOf(service).map((slice, index) => {
      const object = sliceObject(service, family, slice, index);
      service.spoilSlice?.(object, family);
      return object;
    }),
  );
}

function slicesOf(service: TestService): readonly TestSlice[] {
  if (service.slices !== undefined) return service.slices;
  const endpoints = (service.endpoints ?? []).map((one) => (typeof one === 'string' ? { pod: one } : one));
  const ports = servicePorts(service).map(({ name, protocol }) => ({
    port: 8080,
    ...(name === undefined ? {} : { name }),
    ...(protocol === undefined ? {} : { protocol }),
  }));
  return [{ endpoints, ports }];
}

function sliceObject(service: TestService, family: IpFamily, slice: TestSlice, index: number): EndpointSlice {
  return {
    metadata: {
      namespace: NAMESPACE,
      name: `${service.name}-ipv${family}-${index}`,
      labels: { [SERVICE_NAME_LABEL]: service.name, ...service.labels },
      annotations: { [LAST_CHANGE_ANNOTATION]: '2026-01-01T00:00:00Z' },
    },
    addressType: `IPv${family}`,
    endpoints: slice.endpoints.map((endpoint) => endpointObject(endpoint, family)),
    ports: slice.ports.map(({ name = '', port, protocol = 'TCP' }) => ({ name, port, protocol })),
  };
}

function endpointObject(endpoint: TestEndpoint, family: IpFamily): EndpointSlice['endpoints'][0] {
  const { pod, ready = true, serving = ready, terminating = false, forZones, forNodes } = endpoint;
  const hints = {
    ...(forZones === undefined ? {} : { forZones: forZones.map((name) => ({ name })) }),
    ...(forNodes === undefined ? {} : { forNodes: forNodes.map((name) => ({ name })) }),
  };
  return {
    addresses: [ADDRESSES[family][pod]],
    conditions: { ready, serving, terminating },
    nodeName: pod === 'remote-pod' ? OTHER_NODE_NAME : NODE_NAME,
    ...(forZones === undefined && forNodes === undefined ? {} : { hints }),
  };
}
