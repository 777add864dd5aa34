import { BlockList } from 'node:net';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { IpFamily } from '../../../src/net/ip.ts';
import { slowPorts, type SlowEndpoint, type SlowNode, type SlowPort } from './slow-service.ts';
import type { TracedPacket, Verdict } from './verdict.ts';

/** The settings of a node, as plain text. */
export interface SlowSettings extends SlowNode {
  readonly addresses: readonly string[];
  /** Undefined: on all addresses but loopback. */
  readonly nodePortAddresses: readonly string[] | undefined;
  readonly localhostNodePorts: boolean;
  /** Undefined: nobody is told apart. */
  readonly isPodTraffic: ((packet: TracedPacket) => boolean) | undefined;
  readonly serviceCidrs: readonly string[];
  readonly masqueradeAll: boolean;
}

/** Where the modes differ. */
export interface SlowMode {
  /** Ports of a ClusterIP that no Service has. */
  readonly unusedPort: 'reject' | 'pass';
  /** Addresses of the service range that no Service has. */
  readonly unallocated: 'drop' | 'pass';
  /** Which endpoints see the node when they call themselves through this node. */
  readonly hairpin: 'here' | 'everywhere';
  /** A source that the ranges do not admit, at a Service without endpoints. */
  readonly deniedWithoutEndpoints: 'drop' | 'reject';
  /** The node itself, at an external address without endpoints. */
  readonly externalWithoutEndpointsFromNode: 'reject' | 'pass';
  /** Node ports without endpoints are refused on all of the node's addresses, also on those that have no node ports. */
  readonly refusesEverywhere: boolean;
  /** Node ports on 127.0.0.1, in IPv4, where the settings want it. */
  readonly loopback: boolean;
  /** The endpoint sees the node whoever calls. */
  readonly proxied: boolean;
  readonly protocols: readonly TracedPacket['protocol'][];
  /**
   * externalTrafficPolicy Local with endpoints here: pods and the node itself reach only those too, by addresses for
   * the outside. Default: all.
   */
  readonly oneListForAll?: boolean;
  /** Addresses for the outside are the node's own: ports there that no Service has are refused. */
  readonly holdsAddresses?: boolean;
}

/** One place of a service port: an address and port, or a node port. */
interface Place {
  readonly key: string;
  readonly kind: 'cluster' | 'external' | 'balancer' | 'node' | 'elsewhere';
}

/**
 * What becomes of any packet, from the API objects alone. Everything is worked out anew for each question; the only
 * thing remembered is who had an address first.
 */
export class SlowModel {
  readonly #settings: SlowSettings;
  readonly #mode: SlowMode;
  readonly #services = new Map<string, Service>();
  readonly #slices = new Map<string, EndpointSlice>();
  /** Who may have a place that several claim: more than one only until it is seen who got it. */
  #owners = new Map<string, ReadonlySet<string>>();
  #ports: readonly SlowPort[] = [];

  constructor(settings: SlowSettings, mode: SlowMode) {
    this.#settings = settings;
    this.#mode = mode;
  }

  setService(key: string, service: Service | undefined): void {
    if (service === undefined) this.#services.delete(key);
    else this.#services.set(key, service);
  }

  setSlice(key: string, slice: EndpointSlice | undefined): void {
    if (slice === undefined) this.#slices.delete(key);
    else this.#slices.set(key, slice);
  }

  /** The objects are as the proxy sees them next: who claimed a place before keeps it, if it still does. */
  settle(): void {
    const slices = [...this.#slices.values()];
    this.#ports = [...this.#services.values()]
      .flatMap((service) => slowPorts(service, slices, this.#settings))
      .filter(({ protocol }) => this.#mode.protocols.includes(protocol));
    const claimants = new Map<string, Set<string>>();
    for (const port of this.#ports) {
      for (const { key } of placesOf(port)) {
        claimants.set(key, (claimants.get(key) ?? new Set()).add(port.id));
      }
    }
    const owners = new Map<string, ReadonlySet<string>>();
    for (const [key, all] of claimants) {
      const kept = [...(this.#owners.get(key) ?? [])].filter((id) => all.has(id));
      owners.set(key, kept.length > 0 ? new Set(kept) : all);
    }
    this.#owners = owners;
  }

  /** Places that more than one service port claims, with those that may have them. */
  contested(): {
    readonly key: string;
    readonly claimants: readonly string[];
    readonly owners: readonly string[];
  }[] {
    return [...this.#owners].flatMap(([key, owners]) => {
      const claimants = this.#ports.filter((port) => placesOf(port).some((place) => place.key === key));
      if (claimants.length < 2) return [];
      return [{ key, claimants: claimants.map(({ id }) => id), owners: [...owners] }];
    });
  }

  /** All addresses and ports that anybody claims. */
  places(): { address: string; port: number; protocol: TracedPacket['protocol'] }[] {
    return this.#ports.flatMap((port) =>
      placesOf(port).map(({ key, kind }) => {
        const [address = '', , number] = key.split(' ');
        const own = this.#settings.addresses.find((one) => familyOf(one) === port.family) ?? '';
        return { address: kind === 'node' ? own : address, port: Number(number), protocol: port.protocol };
      }),
    );
  }

  /**
   * Whether the verdict may be. Where it is not known yet who has the place, whoever it fits may have it; from then on
   * nobody else.
   */
  accepts(packet: TracedPacket, verdict: Verdict): boolean {
    const place = this.#placeOf(packet);
    const owners = place === undefined ? undefined : this.#owners.get(place.key);
    if (place === undefined || owners === undefined) {
      return sameVerdict(this.#nobodys(packet.destination), verdict);
    }
    const fitting = this.#ports
      .filter(({ id }) => owners.has(id))
      .filter((port) => {
        return sameVerdict(this.#at(port, kindOf(port, place), packet), verdict);
      });
    if (fitting.length === 0) return false;
    this.#owners.set(place.key, new Set(fitting.map(({ id }) => id)));
    return true;
  }

  /** What the packet should meet, for the message of a test that fails. */
  expected(packet: TracedPacket): Verdict[] {
    const place = this.#placeOf(packet);
    const owners = place === undefined ? undefined : this.#owners.get(place.key);
    if (place === undefined || owners === undefined) return [this.#nobodys(packet.destination)];
    return this.#ports
      .filter(({ id }) => owners.has(id))
      .map((port) => {
        return this.#at(port, kindOf(port, place), packet);
      });
  }

  #placeOf({ destination, protocol, port }: TracedPacket): Place | undefined {
    const direct = `${destination} ${protocol} ${port}`;
    if (this.#owners.has(direct)) return { key: direct, kind: 'cluster' };
    const key = `node${familyOf(destination)} ${protocol} ${port}`;
    if (!this.#owners.has(key)) return undefined;
    if (this.#takesNodePorts(destination)) return { key, kind: 'node' };
    return this.#mode.refusesEverywhere && this.#isNodes(destination)
      ? { key, kind: 'elsewhere' }
      : undefined;
  }

  #isNodes(address: string): boolean {
    return this.#settings.addresses.includes(address);
  }

  #takesNodePorts(address: string): boolean {
    const { nodePortAddresses, addresses, localhostNodePorts } = this.#settings;
    if (address.startsWith('127.')) return this.#mode.loopback && localhostNodePorts;
    if (address === '::1') return false;
    return (nodePortAddresses ?? addresses).includes(address);
  }

  #nobodys(destination: string): Verdict {
    if (this.#ports.some(({ clusterIp }) => clusterIp === destination))
      return { kind: this.#mode.unusedPort };
    const held = this.#ports.some(({ externalIps, loadBalancerIps }) =>
      [...externalIps, ...loadBalancerIps].includes(destination),
    );
    if (held && this.#mode.holdsAddresses === true && !this.#isNodes(destination)) return { kind: 'reject' };
    return { kind: contains(this.#settings.serviceCidrs, destination) ? this.#mode.unallocated : 'pass' };
  }

  #at(port: SlowPort, kind: Place['kind'], packet: TracedPacket): Verdict {
    const { isPodTraffic, masqueradeAll } = this.#settings;
    const fromNode = packet.inputDevice === undefined;
    const isPod = isPodTraffic?.(packet) ?? false;
    if (kind === 'elsewhere') {
      if (!port.anyEndpoints) return { kind: 'reject' };
      return { kind: port.externalLocal && port.localEndpoints.length === 0 ? 'drop' : 'pass' };
    }
    if (kind === 'cluster') {
      const stranger = isPodTraffic !== undefined && !isPod;
      const endpoints = port.internalLocal ? port.localEndpoints : port.clusterEndpoints;
      return this.#to(port, endpoints, masqueradeAll || stranger, packet);
    }
    const denied =
      kind === 'balancer' && port.sourceRanges !== undefined && !contains(port.sourceRanges, packet.source);
    if (denied) return { kind: port.anyEndpoints ? 'drop' : this.#mode.deniedWithoutEndpoints };
    const isExternal = kind === 'external' || kind === 'balancer';
    if (!port.anyEndpoints && fromNode && isExternal) {
      return { kind: this.#mode.externalWithoutEndpointsFromNode };
    }
    if (!port.externalLocal) return this.#to(port, port.clusterEndpoints, true, packet);
    if (this.#mode.oneListForAll === true && port.localEndpoints.length > 0)
      return this.#to(port, port.localEndpoints, fromNode, packet);
    // Pods and the node itself are not outside: they reach all endpoints also by addresses for the outside.
    if (isPod) return this.#to(port, port.clusterEndpoints, false, packet);
    if (fromNode) return this.#to(port, port.clusterEndpoints, true, packet);
    return this.#to(port, port.localEndpoints, false, packet);
  }

  #to(
    port: SlowPort,
    endpoints: readonly SlowEndpoint[],
    masquerade: boolean,
    { source, inputDevice }: TracedPacket,
  ): Verdict {
    if (!port.anyEndpoints) return { kind: 'reject' };
    if (endpoints.length === 0) return { kind: 'drop' };
    const { hairpin, proxied } = this.#mode;
    const text = ({ address, port: number }: SlowEndpoint): string =>
      port.family === 4 ? `${address}:${number}` : `[${address}]:${number}`;
    const seesNode = (endpoint: SlowEndpoint): boolean => {
      if (proxied) return true;
      // What comes in for an endpoint in the node's own network does not leave again: nothing is there to masquerade.
      if (inputDevice !== undefined && this.#isNodes(endpoint.address)) return false;
      const isHairpin = endpoint.address === source && (endpoint.local || hairpin === 'everywhere');
      return masquerade || isHairpin;
    };
    return {
      kind: 'endpoints',
      endpoints: endpoints.map(text).sort(),
      masqueraded: endpoints.filter(seesNode).map(text).sort(),
    };
  }
}

/** What the place is to the one who has it. */
function kindOf(port: SlowPort, { key, kind }: Place): Place['kind'] {
  if (kind === 'elsewhere') return kind;
  return placesOf(port).find((place) => place.key === key)?.kind ?? kind;
}

function placesOf(port: SlowPort): Place[] {
  const at =
    (kind: Place['kind']) =>
    (address: string): Place => ({
      key: `${address} ${port.protocol} ${kind === 'node' ? port.nodePort : port.port}`,
      kind,
    });
  return [
    at('cluster')(port.clusterIp),
    ...port.externalIps.map(at('external')),
    ...port.loadBalancerIps.map(at('balancer')),
    ...(port.nodePort === undefined ? [] : [at('node')(`node${port.family}`)]),
  ];
}

function contains(ranges: readonly string[], address: string): boolean {
  const list = new BlockList();
  for (const range of ranges) {
    const [ip = '', bits] = range.split('/');
    list.addSubnet(ip, Number(bits), typeOf(ip));
  }
  return list.check(address, typeOf(address));
}

const familyOf = (address: string): IpFamily => (address.includes(':') ? 6 : 4);
const typeOf = (address: string): 'ipv4' | 'ipv6' => (familyOf(address) === 4 ? 'ipv4' : 'ipv6');

function sameVerdict(one: Verdict, other: Verdict): boolean {
  if (one.kind !== 'endpoints' || other.kind !== 'endpoints') return one.kind === other.kind;
  return (
    one.endpoints.join() === other.endpoints.join() && one.masqueraded.join() === other.masqueraded.join()
  );
}
