import type { Namespace, Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { Ip } from '../net/ip.ts';

/** `kubernetes.io/service-name`: the Service that an EndpointSlice belongs to. */
const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';
/** Older way to say publishNotReadyAddresses, named by the specification. */
const TOLERATE_UNREADY = 'service.alpha.kubernetes.io/tolerate-unready-endpoints';

interface NamedPort {
  /** Lower case; '' when the port has no name and so no SRV record of its own. */
  readonly name: string;
  /** `tcp`, `udp` or `sctp`. */
  readonly protocol: string;
  readonly port: number;
}

/** What DNS needs of a Service. */
export interface DnsService {
  readonly namespace: string;
  readonly name: string;
  readonly clusterIps: readonly Ip[];
  readonly headless: boolean;
  /** Lower case, without final dot; undefined unless the type is ExternalName. */
  readonly externalName: string | undefined;
  readonly publishNotReady: boolean;
  readonly ports: readonly NamedPort[];
}

export interface DnsEndpoint {
  readonly addresses: readonly Ip[];
  /** As set by the pod; else addresses are written with dashes. */
  readonly hostname: string | undefined;
  readonly ready: boolean;
}

/** What DNS needs of an EndpointSlice. */
export interface DnsEndpointSlice {
  /** `namespace/name` of the Service; undefined for a slice of none. */
  readonly service: string | undefined;
  readonly endpoints: readonly DnsEndpoint[];
  readonly ports: readonly NamedPort[];
}

export function projectService(service: Service): DnsService {
  const spec = service.spec ?? {};
  const listed = spec.clusterIPs ?? [];
  const addresses = listed.length > 0 ? listed : [spec.clusterIP ?? ''];
  const external = spec.type === 'ExternalName' ? spec.externalName : undefined;
  return {
    namespace: service.metadata?.namespace ?? '',
    name: service.metadata?.name ?? '',
    clusterIps: external === undefined ? parseAddresses(addresses) : [],
    headless: external === undefined && addresses.includes('None'),
    externalName: external?.toLowerCase().replace(/\.$/, ''),
    publishNotReady:
      spec.publishNotReadyAddresses === true || service.metadata?.annotations?.[TOLERATE_UNREADY] === 'true',
    ports: (spec.ports ?? []).map(projectPort),
  };
}

export function projectEndpointSlice(slice: EndpointSlice): DnsEndpointSlice {
  const service = slice.metadata?.labels?.[SERVICE_NAME_LABEL];
  return {
    service: service === undefined ? undefined : `${slice.metadata?.namespace ?? ''}/${service}`,
    endpoints: (slice.endpoints ?? []).map((endpoint) => ({
      addresses: parseAddresses(endpoint.addresses),
      hostname: endpoint.hostname?.toLowerCase(),
      // discovery/v1: an unknown readiness is to be read as ready.
      ready: endpoint.conditions?.ready !== false,
    })),
    ports: (slice.ports ?? []).filter((port) => port.port !== undefined).map(projectPort),
  };
}

export function projectNamespace(namespace: Namespace): string {
  return namespace.metadata?.name ?? '';
}

// What is no address ('None', '', a host name in a slice of addressType FQDN) has no A or AAAA record.
function parseAddresses(texts: readonly string[] | undefined): Ip[] {
  return (texts ?? []).map((text) => Ip.tryParse(text)).filter((ip) => ip !== undefined);
}

function projectPort(port: { name?: string; protocol?: string; port?: number }): NamedPort {
  return {
    name: (port.name ?? '').toLowerCase(),
    protocol: (port.protocol ?? 'TCP').toLowerCase(),
    port: port.port ?? 0,
  };
}
