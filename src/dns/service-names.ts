import type { Ip } from '../net/ip.ts';
import type { DnsEndpoint, DnsEndpointSlice, DnsService } from './zone-objects.ts';

export interface ServicePort {
  readonly name: string;
  readonly protocol: string;
  readonly port: number;
  /** Host name below the Service; undefined: the Service's own name. */
  readonly host: string | undefined;
}

/** Everything that the names at and below one Service say. */
export interface ServiceNames {
  readonly externalName: string | undefined;
  /** Addresses of the Service's own name. */
  readonly addresses: readonly Ip[];
  readonly ports: readonly ServicePort[];
  /** Addresses by host name of an endpoint. */
  readonly hosts: ReadonlyMap<string, readonly Ip[]>;
}

const NOTHING: ServiceNames = { externalName: undefined, addresses: [], ports: [], hosts: new Map() };

/**
 * The names of one Service by the Kubernetes DNS specification 1.1.0, sections 2.3 to 2.5. Endpoints have names
 * below a Service with ClusterIP too, as CoreDNS gives them.
 */
export function namesOf(service: DnsService, slices: Iterable<DnsEndpointSlice>): ServiceNames {
  if (service.externalName !== undefined) return externalNames(service.externalName);
  const endpoints = [...slices].flatMap((slice) =>
    slice.endpoints
      .filter((endpoint) => endpoint.ready || service.publishNotReady)
      .map((endpoint) => ({ endpoint, ports: slice.ports })),
  );
  const hosts = new Map<string, Ip[]>();
  for (const { endpoint } of endpoints) {
    for (const address of endpoint.addresses) addTo(hosts, hostOf(endpoint, address), address);
  }
  if (!service.headless) {
    const ports = service.ports.map((port) => ({ ...port, host: undefined }));
    return {
      externalName: undefined,
      addresses: service.clusterIps,
      ports: service.clusterIps.length === 0 ? [] : ports,
      hosts,
    };
  }
  const ports = endpoints.flatMap(({ endpoint, ports }) =>
    endpoint.addresses.flatMap((address) =>
      ports.map((port) => ({ ...port, host: hostOf(endpoint, address) })),
    ),
  );
  return {
    externalName: undefined,
    addresses: uniqueAddresses([...hosts.values()].flat()),
    ports: uniquePorts(ports),
    hosts,
  };
}

/** The label that names an endpoint's address: its hostname, or the address with dashes as CoreDNS writes it. */
export function hostOf(endpoint: DnsEndpoint, address: Ip): string {
  return endpoint.hostname ?? address.toString().replaceAll(/[.:]/g, '-');
}

// An address is no canonical name: as with CoreDNS, such a Service has no records.
function externalNames(target: string): ServiceNames {
  const labels = target.split('.').every((label) => label.length > 0 && label.length < 64);
  const isName = labels && target.length < 254 && !/^[\d.]+$/.test(target) && !target.includes(':');
  return isName ? { ...NOTHING, externalName: target } : NOTHING;
}

function addTo(hosts: Map<string, Ip[]>, host: string, address: Ip): void {
  const list = hosts.get(host);
  if (list === undefined) hosts.set(host, [address]);
  else if (!list.some((known) => known.equals(address))) list.push(address);
}

function uniqueAddresses(list: readonly Ip[]): Ip[] {
  return [...new Map(list.map((ip) => [ip.toString(), ip])).values()];
}

function uniquePorts(list: readonly ServicePort[]): ServicePort[] {
  return [
    ...new Map(
      list.map((port) => [`${port.name}/${port.protocol}/${port.port}/${port.host}`, port]),
    ).values(),
  ];
}
