import {
  addressField,
  FieldReader,
  indexField,
  portField,
  protocolField,
  type TransportProtocol,
} from '../../../kernel/nft/field.ts';
import type { NftElement, NftSet } from '../../../kernel/nft/objects.ts';
import type { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { parseSharedChain } from './shared-chain.ts';
import type { ProxySets } from './sets.ts';

export interface TracedPacket {
  readonly source: string;
  readonly destination: string;
  readonly protocol: TransportProtocol;
  readonly port: number;
  /** What a random draw among `n` gives. */
  readonly draw: (n: number) => number;
}

export type TraceResult =
  /** To an endpoint; `masquerade`: with the node's address as source. */
  | {
      readonly verdict: 'dnat';
      readonly address: string;
      readonly port: number;
      readonly masquerade: boolean;
    }
  | { readonly verdict: 'refuse' }
  /** Nothing of the proxy's concerns it. */
  | { readonly verdict: 'pass' };

/** Reads elements; `NftKernel` is one. */
interface ElementSource {
  elements(set: NftSet): NftElement[];
}

/** What the rules would do with the first packet of a connection, by the elements alone. */
export class ProxyTracer {
  readonly #family: IpFamily;
  readonly #sets: ProxySets;
  readonly #clusterCidrs: readonly Cidr[];
  readonly #elements = new Map<NftSet, Map<string, string>>();

  constructor(source: ElementSource, sets: ProxySets, family: IpFamily, clusterCidrs: readonly Cidr[]) {
    this.#family = family;
    this.#sets = sets;
    this.#clusterCidrs = clusterCidrs.filter((cidr) => cidr.family === family);
    for (const set of Object.values(sets) as (NftSet | ProxySets['table'])[]) {
      if (!('kind' in set)) continue;
      this.#elements.set(set, new Map(source.elements(set).map(({ key, value }) => [key, value ?? ''])));
    }
  }

  trace(packet: TracedPacket): TraceResult {
    const destination = addressField(packet.destination);
    const port = protocolField(packet.protocol) + portField(packet.port);
    const sets = this.#sets;
    const toClusterIp = this.#has(sets.clusterIps, destination);
    const service = this.#balance(
      sets.serviceIps,
      sets.balancers,
      sets.endpoints,
      destination + port,
      packet,
    );
    if (service !== undefined) {
      return this.#translated(service, packet, toClusterIp && this.#fromOffCluster(packet.source));
    }
    const toNode = this.#has(sets.nodePortIps, destination);
    if (toNode) {
      const maps = [sets.serviceNodePorts, sets.nodePortBalancers, sets.nodePortEndpoints] as const;
      const nodePort = this.#balance(...maps, port, packet);
      if (nodePort !== undefined) return this.#translated(nodePort, packet, true);
    }
    const refused =
      this.#has(sets.noEndpointServices, destination + port) ||
      (toNode && this.#has(sets.noEndpointNodePorts, port)) ||
      toClusterIp;
    return { verdict: refused ? 'refuse' : 'pass' };
  }

  #balance(
    services: NftSet,
    chains: NftSet,
    endpoints: NftSet,
    entry: string,
    packet: TracedPacket,
  ): string | undefined {
    const selector = this.#get(services, entry);
    const verdict = selector === undefined ? undefined : this.#get(chains, selector);
    const chain = verdict === undefined ? undefined : parseSharedChain(verdict.replace(/^goto /, ''));
    if (chain === undefined || chain.kind === 'learn') return undefined;
    const client = addressField(packet.source) + addressField(packet.destination);
    const known = chain.affinity
      ? this.#get(this.#sets.affinity, client + protocolField(packet.protocol) + portField(packet.port))
      : undefined;
    return known ?? this.#get(endpoints, entry + indexField(packet.draw(chain.endpoints)));
  }

  #translated(endpoint: string, packet: TracedPacket, marked: boolean): TraceResult {
    const fields = new FieldReader(endpoint);
    const address = fields.address(this.#family);
    const hairpin = this.#has(this.#sets.hairpins, addressField(packet.source) + addressField(address));
    return { verdict: 'dnat', address, port: fields.port(), masquerade: marked || hairpin };
  }

  #fromOffCluster(source: string): boolean {
    const ip = Ip.parse(source);
    return this.#clusterCidrs.length > 0 && !this.#clusterCidrs.some((cidr) => cidr.contains(ip));
  }

  #get(set: NftSet, key: string): string | undefined {
    return this.#elements.get(set)?.get(key);
  }

  #has(set: NftSet, key: string): boolean {
    return this.#elements.get(set)?.has(key) === true;
  }
}
