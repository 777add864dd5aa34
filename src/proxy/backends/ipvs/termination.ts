import {
  realServerText,
  serverText,
  type IpvsChange,
  type IpvsKernel,
  type IpvsRefusal,
  type ObservedRealServer,
  type RealServerKey,
  type VirtualServerKey,
} from '../../../kernel/ipvs/objects.ts';
import { realServer } from './program.ts';

/** What was done, and what the kernel would not have. */
export interface Terminated {
  readonly changes: readonly IpvsChange[];
  readonly refusals: readonly IpvsRefusal[];
}

/**
 * Real servers that get no new connections and stay until theirs have ended, and virtual servers of Services that are
 * gone, which stay as long as one of their real servers does.
 */
export class Terminations {
  readonly #ipvs: IpvsKernel;
  readonly #released: (address: string) => void;
  readonly #gone = new Map<string, VirtualServerKey>();
  readonly #servers = new Map<
    string,
    { server: VirtualServerKey; destinations: Map<string, RealServerKey> }
  >();

  /** `released` is told the address of a virtual server that has gone at last. */
  constructor(ipvs: IpvsKernel, released: (address: string) => void) {
    this.#ipvs = ipvs;
    this.#released = released;
  }

  /** Virtual servers that nobody needs and that are there for their connections. */
  get goneServers(): ReadonlyMap<string, VirtualServerKey> {
    return this.#gone;
  }

  /** Whether a virtual server that has yet to go has the address. */
  holds(address: string): boolean {
    if (this.#gone.size === 0) return false;
    return [...this.#gone.values()].some((server) => server.address === address);
  }

  /** True when the virtual server is there: it is wanted again. */
  revive(server: VirtualServerKey): boolean {
    return this.#gone.delete(serverText(server));
  }

  get size(): number {
    return [...this.#servers.values()].reduce((sum, { destinations }) => sum + destinations.size, 0);
  }

  has(server: VirtualServerKey, destination: RealServerKey): boolean {
    return this.#servers.get(serverText(server))?.destinations.has(realServerText(destination)) === true;
  }

  /** It is wanted again, or gone with its virtual server. */
  forget(server: VirtualServerKey, destination?: RealServerKey): void {
    const key = serverText(server);
    const held = this.#servers.get(key);
    if (destination !== undefined) held?.destinations.delete(realServerText(destination));
    if (destination === undefined || held?.destinations.size === 0) this.#servers.delete(key);
  }

  clear(): void {
    this.#servers.clear();
    this.#gone.clear();
  }

  /** Deletes a virtual server, at once or, where it has connections, when the last of them has ended. */
  deleteServer(server: VirtualServerKey, scheduler: string): Terminated {
    const found = isGraceful(server, scheduler) ? this.#ipvs.realServers(server) : [];
    const busy = found.filter((real) => !isIdle(real));
    if (busy.length === 0) {
      this.forget(server);
      const changes: IpvsChange[] = [{ operation: 'delete-server', server }];
      return { changes, refusals: this.#ipvs.apply(changes) };
    }
    this.#gone.set(serverText(server), server);
    return this.retire(server, found, scheduler);
  }

  /**
   * Takes new connections from real servers of one virtual server and deletes those that have none; the others stay
   * on the list. UDP has no end of connections: they go at once, and the next packet of a flow is balanced anew
   * (expire_nodest_conn). So do those of the scheduler dh, which leads all clients of an address to one real server
   * and to no other while it is there.
   */
  retire(server: VirtualServerKey, destinations: readonly RealServerKey[], scheduler: string): Terminated {
    const changes: IpvsChange[] = [];
    const refusals: IpvsRefusal[] = [];
    const apply = (more: IpvsChange[]): void => {
      changes.push(...more);
      refusals.push(...this.#ipvs.apply(more));
    };
    if (!isGraceful(server, scheduler)) {
      apply(destinations.map((destination) => ({ operation: 'delete-destination', server, destination })));
      return { changes, refusals };
    }
    // First, so that none comes between the look and the deletion.
    apply(
      destinations.map((destination) => ({
        operation: 'set-destination',
        server,
        destination: realServer(destination, 0),
      })),
    );
    const wanted = new Map(destinations.map((destination) => [realServerText(destination), destination]));
    const idle: IpvsChange[] = [];
    for (const found of this.#ipvs.realServers(server)) {
      const destination = wanted.get(realServerText(found));
      if (destination === undefined) continue;
      if (isIdle(found)) idle.push({ operation: 'delete-destination', server, destination });
      else this.#remember(server, destination);
    }
    apply(idle);
    return { changes, refusals };
  }

  /** Deletes those whose last connection has ended. */
  check(): void {
    for (const { server, destinations } of this.#servers.values()) {
      const found = new Map(this.#ipvs.realServers(server).map((real) => [realServerText(real), real]));
      const idle: IpvsChange[] = [];
      for (const [key, destination] of destinations) {
        const real = found.get(key);
        if (real !== undefined && !isIdle(real)) continue;
        this.forget(server, destination);
        if (real !== undefined) idle.push({ operation: 'delete-destination', server, destination });
      }
      // Refused: somebody else was quicker.
      this.#ipvs.apply(idle);
    }
    for (const [key, server] of this.#gone) {
      if (this.#servers.has(key)) continue;
      this.#gone.delete(key);
      this.#ipvs.apply([{ operation: 'delete-server', server }]);
      this.#released(server.address);
    }
  }

  #remember(server: VirtualServerKey, destination: RealServerKey): void {
    const key = serverText(server);
    const held = this.#servers.get(key) ?? { server, destinations: new Map<string, RealServerKey>() };
    held.destinations.set(realServerText(destination), destination);
    this.#servers.set(key, held);
  }
}

function isGraceful({ protocol }: VirtualServerKey, scheduler: string): boolean {
  return protocol !== 'UDP' && scheduler !== 'dh';
}

export function isIdle({ activeConnections, inactiveConnections }: ObservedRealServer): boolean {
  return activeConnections + inactiveConnections === 0;
}
