import type { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import type { Protocol } from '../../services/service-spec.ts';
import { Balancer, type Chance, type EndpointSet } from './balancer.ts';
import { addressKey, nodeKey, type Entry } from './entries.ts';

/** Something that lasts while a client talks to an endpoint and the kernel knows of no connection. */
export interface Session {
  readonly endpoint: string;
  readonly set: EndpointSet;
  end(): void;
}

/** A service port that connections may arrive for. */
export class ServedPort {
  readonly balancer: Balancer;
  readonly sessions = new Set<Session>();

  constructor(port: ServicePort, chance: Chance) {
    this.balancer = new Balancer(port, chance);
  }

  /** Sessions with endpoints that are no longer its own end. */
  update(port: ServicePort): void {
    this.balancer.port = port;
    for (const session of this.sessions) {
      if (!this.balancer.has(session.set, session.endpoint)) session.end();
    }
  }

  end(): void {
    for (const session of this.sessions) session.end();
  }
}

/** Which service port a connection is for, by where its client wanted to go. */
export class ServiceTable {
  readonly #ports = new Map<string, ServedPort>();

  set(entries: readonly Entry[], port: ServedPort): void {
    for (const { key } of entries) this.#ports.set(key, port);
  }

  delete(entries: readonly Entry[], port: ServedPort): void {
    for (const { key } of entries) if (this.#ports.get(key) === port) this.#ports.delete(key);
  }

  /** By the key of an entry. */
  get(key: string): ServedPort | undefined {
    return this.#ports.get(key);
  }

  /**
   * Whether what would connect to this endpoint came back here: it is an address of a Service. Kernels translate a
   * connection once, so in the other modes nothing leads from Service to Service either.
   */
  isEntrance(
    protocol: Protocol,
    family: 4 | 6,
    { address, port }: ServiceEndpoint,
    nodeIps: readonly Ip[],
  ): boolean {
    if (this.#ports.has(addressKey(protocol, address, port))) return true;
    if (!this.#ports.has(nodeKey(protocol, family, port))) return false;
    return nodeIps.some((ip) => ip.toString() === address);
  }

  /** An address of a Service, or one of the node's with a node port. */
  find(protocol: Protocol, family: 4 | 6, address: string, port: number): ServedPort | undefined {
    return (
      this.#ports.get(addressKey(protocol, address, port)) ?? this.#ports.get(nodeKey(protocol, family, port))
    );
  }
}
