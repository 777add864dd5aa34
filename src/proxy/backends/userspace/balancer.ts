import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import { endpointText } from '../../services/endpoint-text.ts';

/** Which endpoints of a service port a connection may get: all that its policy Cluster has, or those of this node. */
export type EndpointSet = 'all' | 'local';
export const ENDPOINT_SETS: readonly EndpointSet[] = ['all', 'local'];

/** A clock in milliseconds that never goes back, and random numbers in [0, 1). */
export interface Chance {
  readonly nowMs: () => number;
  readonly random: () => number;
}

interface Remembered {
  readonly endpoint: string;
  usedMs: number;
}

const NOTHING: ReadonlySet<string> = new Set();

/** Round robin over the endpoints of one service port, with the affinity of its clients. */
export class Balancer {
  readonly #chance: Chance;
  readonly #turn: Record<EndpointSet, number> = { all: 0, local: 0 };
  /** By client address; those that called longest ago come first. */
  readonly #clients = new Map<string, Remembered>();
  #port: ServicePort;

  constructor(port: ServicePort, chance: Chance) {
    this.#chance = chance;
    this.#port = port;
    this.#shuffle();
  }

  get port(): ServicePort {
    return this.#port;
  }

  set port(port: ServicePort) {
    if (port.affinitySeconds === 0) this.#clients.clear();
    this.#port = port;
    this.#shuffle();
  }

  endpoints(set: EndpointSet): readonly ServiceEndpoint[] {
    return set === 'all' ? this.#port.endpoints : this.#port.localEndpoints;
  }

  has(set: EndpointSet, endpoint: string): boolean {
    return this.endpoints(set).some(({ address, port }) => endpointText(address, port) === endpoint);
  }

  /**
   * The endpoint for a new connection of this client. `avoid`: those that were tried for it already; a client whose
   * own endpoint did not answer gets another one and stays with that. Undefined: there is no other.
   */
  next(client: string, set: EndpointSet, avoid: ReadonlySet<string> = NOTHING): ServiceEndpoint | undefined {
    const endpoints = this.endpoints(set);
    const known = avoid.size === 0 ? this.#recall(client, endpoints) : undefined;
    const chosen = known ?? this.#takeTurn(endpoints, set, avoid);
    if (chosen !== undefined && this.#port.affinitySeconds > 0) this.#remember(client, chosen);
    return chosen;
  }

  /** How many clients are remembered. */
  get clients(): number {
    return this.#clients.size;
  }

  #takeTurn(
    endpoints: readonly ServiceEndpoint[],
    set: EndpointSet,
    avoid: ReadonlySet<string>,
  ): ServiceEndpoint | undefined {
    for (let step = 0; step < endpoints.length; step += 1) {
      const index = (this.#turn[set] + step) % endpoints.length;
      const endpoint = endpoints[index];
      if (endpoint === undefined || avoid.has(endpointText(endpoint.address, endpoint.port))) continue;
      this.#turn[set] = (index + 1) % endpoints.length;
      return endpoint;
    }
    return undefined;
  }

  #recall(client: string, endpoints: readonly ServiceEndpoint[]): ServiceEndpoint | undefined {
    const remembered = this.#clients.get(client);
    if (remembered === undefined || this.#isOver(remembered)) return undefined;
    return endpoints.find(({ address, port }) => endpointText(address, port) === remembered.endpoint);
  }

  #remember(client: string, { address, port }: ServiceEndpoint): void {
    this.#clients.delete(client);
    this.#clients.set(client, { endpoint: endpointText(address, port), usedMs: this.#chance.nowMs() });
    for (const [oldest, remembered] of this.#clients) {
      if (!this.#isOver(remembered)) break;
      this.#clients.delete(oldest);
    }
  }

  #isOver({ usedMs }: Remembered): boolean {
    return this.#chance.nowMs() - usedMs >= this.#port.affinitySeconds * 1000;
  }

  /** Else, with many changes, the first endpoint of the list would get more than its share. */
  #shuffle(): void {
    for (const set of ENDPOINT_SETS) {
      this.#turn[set] = Math.floor(this.#chance.random() * Math.max(1, this.endpoints(set).length));
    }
  }
}
