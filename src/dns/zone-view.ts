import { Cidr } from '../net/cidr.ts';
import type { Ip } from '../net/ip.ts';
import { hostOf, namesOf, type ServiceNames } from './service-names.ts';
import type { DnsEndpointSlice, DnsService } from './zone-objects.ts';

export interface ZoneOptions {
  /** `cluster.local`. */
  readonly zone: string;
  /** Seconds; 30, as CoreDNS's standard configuration has it. */
  readonly ttl: number;
  /** Reverse lookups inside of these are answered here alone, never asked upstream. */
  readonly reverseNetworks?: readonly Cidr[];
  /** Addresses of this server, to find the Service that leads to it. */
  readonly ownAddresses?: () => readonly Ip[];
  /** Milliseconds since 1970, for the SOA's serial. */
  readonly now?: () => number;
}

/**
 * What the cluster's zone holds. Kept up to date object by object: one change costs what its Service costs,
 * whatever else the cluster holds. Names of a Service are worked out when first asked for.
 */
export class ZoneView {
  readonly zone: string;
  readonly zoneLabels: readonly string[];
  readonly ttl: number;
  readonly reverseNetworks: readonly Cidr[];
  readonly #ownAddresses: () => readonly Ip[];
  readonly #now: () => number;
  readonly #namespaces = new Set<string>();
  readonly #services = new Map<string, DnsService>();
  readonly #slices = new Map<string, DnsEndpointSlice>();
  /** Keys of slices by key of Service. */
  readonly #slicesOf = new Map<string, Set<string>>();
  /** Keys of Services by cluster IP, and of slices by endpoint address. */
  readonly #serviceByIp = new Map<string, Set<string>>();
  readonly #slicesByIp = new Map<string, Set<string>>();
  readonly #names = new Map<string, ServiceNames>();
  #serial: number;

  constructor(options: ZoneOptions) {
    this.zone = options.zone.toLowerCase().replace(/\.$/, '');
    this.zoneLabels = this.zone.split('.');
    this.ttl = options.ttl;
    this.reverseNetworks = options.reverseNetworks ?? [];
    this.#ownAddresses = options.ownAddresses ?? (() => []);
    this.#now = options.now ?? Date.now;
    this.#serial = this.#seconds();
  }

  /** Seconds since 1970 of the last change. */
  get serial(): number {
    return this.#serial;
  }

  setNamespace(name: string): void {
    this.#namespaces.add(name);
    this.#touch();
  }

  removeNamespace(name: string): void {
    this.#namespaces.delete(name);
    this.#touch();
  }

  hasNamespace(name: string): boolean {
    return this.#namespaces.has(name);
  }

  /** `key` is `namespace/name`, here and below. */
  setService(key: string, service: DnsService): void {
    this.#unlinkService(key);
    this.#services.set(key, service);
    for (const ip of service.clusterIps) add(this.#serviceByIp, ip.toString(), key);
    this.#touch();
  }

  removeService(key: string): void {
    this.#unlinkService(key);
    this.#services.delete(key);
    this.#touch();
  }

  setEndpointSlice(key: string, slice: DnsEndpointSlice): void {
    this.#unlinkSlice(key);
    if (slice.service !== undefined) {
      this.#slices.set(key, slice);
      add(this.#slicesOf, slice.service, key);
      this.#names.delete(slice.service);
      for (const ip of addressesOf(slice)) add(this.#slicesByIp, ip.toString(), key);
    }
    this.#touch();
  }

  removeEndpointSlice(key: string): void {
    this.#unlinkSlice(key);
    this.#slices.delete(key);
    this.#touch();
  }

  service(namespace: string, name: string): ServiceNames | undefined {
    return this.#namesOf(`${namespace}/${name}`);
  }

  /** Names that the reverse lookup of an address gives: of the Service, else of each endpoint. */
  pointers(ip: Ip): string[] {
    const text = ip.toString();
    const services = [...(this.#serviceByIp.get(text) ?? [])];
    if (services.length > 0) return services.map((key) => this.#serviceName(key));
    const names = [...(this.#slicesByIp.get(text) ?? [])].flatMap((key) => this.#endpointNames(key, ip));
    return [...new Set(names)];
  }

  /** Cluster IPs of the Service that leads to this server, else this server's own addresses. */
  nameServerAddresses(): readonly Ip[] {
    const own = this.#ownAddresses();
    const services = own
      .flatMap((ip) => [...(this.#slicesByIp.get(ip.toString()) ?? [])])
      .map((key) => {
        const service = this.#slices.get(key)?.service;
        return service === undefined ? [] : (this.#services.get(service)?.clusterIps ?? []);
      });
    const found = new Map(services.flat().map((ip) => [ip.toString(), ip]));
    return found.size > 0 ? [...found.values()] : own;
  }

  #namesOf(key: string): ServiceNames | undefined {
    const service = this.#services.get(key);
    if (service === undefined) return undefined;
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const slices = [...(this.#slicesOf.get(key) ?? [])].map((slice) => this.#slices.get(slice));
    const names = namesOf(
      service,
      slices.filter((slice) => slice !== undefined),
    );
    this.#names.set(key, names);
    return names;
  }

  #endpointNames(sliceKey: string, ip: Ip): string[] {
    const slice = this.#slices.get(sliceKey);
    const key = slice?.service;
    const service = key === undefined ? undefined : this.#services.get(key);
    if (slice === undefined || key === undefined || service === undefined) return [];
    if (service.externalName !== undefined) return [];
    return slice.endpoints
      .filter((endpoint) => endpoint.ready || service.publishNotReady)
      .filter((endpoint) => endpoint.addresses.some((address) => address.equals(ip)))
      .map((endpoint) => `${hostOf(endpoint, ip)}.${this.#serviceName(key)}`);
  }

  #serviceName(key: string): string {
    const service = this.#services.get(key);
    return `${service?.name ?? ''}.${service?.namespace ?? ''}.svc.${this.zone}`;
  }

  #unlinkService(key: string): void {
    this.#names.delete(key);
    for (const ip of this.#services.get(key)?.clusterIps ?? []) remove(this.#serviceByIp, ip.toString(), key);
  }

  #unlinkSlice(key: string): void {
    const slice = this.#slices.get(key);
    if (slice?.service === undefined) return;
    this.#slices.delete(key);
    this.#names.delete(slice.service);
    remove(this.#slicesOf, slice.service, key);
    for (const ip of addressesOf(slice)) remove(this.#slicesByIp, ip.toString(), key);
  }

  #touch(): void {
    this.#serial = this.#seconds();
  }

  #seconds(): number {
    return Math.floor(this.#now() / 1000);
  }
}

function addressesOf(slice: DnsEndpointSlice): Ip[] {
  return slice.endpoints.flatMap((endpoint) => [...endpoint.addresses]);
}

function add(index: Map<string, Set<string>>, from: string, to: string): void {
  const set = index.get(from);
  if (set === undefined) index.set(from, new Set([to]));
  else set.add(to);
}

function remove(index: Map<string, Set<string>>, from: string, to: string): void {
  const set = index.get(from);
  if (set === undefined) return;
  set.delete(to);
  if (set.size === 0) index.delete(from);
}
