import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { RT_TABLE_LOCAL } from '../../../kernel/netlink/constants.ts';
import type { Route, RouteKey } from '../../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';

/** rtm_protocol of the routes, so that they are known again; not one of /etc/iproute2/rt_protos. */
const ROUTE_PROTOCOL = 71;

/** Addresses of Services as addresses of the node, by local routes on its loopback device. */
export class ServiceAddresses {
  readonly #routes: RouteKernel;
  readonly #family: IpFamily;
  readonly #source: Ip | undefined;
  /** By address, who needs it. */
  readonly #users = new Map<string, Set<unknown>>();

  /** `source`: from where the node itself calls them; else from the very address that it calls. */
  constructor(routes: RouteKernel, family: IpFamily, source: Ip | undefined) {
    this.#routes = routes;
    this.#family = family;
    this.#source = source;
  }

  /** Returns what was done. */
  need(address: string, user: unknown): string[] {
    const users = this.#users.get(address);
    if (users !== undefined) {
      users.add(user);
      return [];
    }
    const link = this.#routes.link('lo')?.index;
    try {
      this.#routes.addRoute({
        ...this.#key(Ip.parse(address)),
        ...(link === undefined ? {} : { link }),
        ...(this.#source === undefined ? {} : { source: this.#source }),
      });
    } catch (error) {
      // One of the node's own addresses, or a route that an earlier process made.
      if (!(error instanceof FlatnetError) || error.code !== 'EEXIST') throw error;
    }
    this.#users.set(address, new Set([user]));
    return [`ip route add local ${address} dev lo`];
  }

  /** Returns what was done. */
  release(address: string, user: unknown): string[] {
    const users = this.#users.get(address);
    users?.delete(user);
    if (users === undefined || users.size > 0) return [];
    this.#users.delete(address);
    return this.#delete(Ip.parse(address)) ? [`ip route del local ${address} dev lo`] : [];
  }

  /** Removes what nobody needs: an earlier process may have. */
  prune(): void {
    for (const { destination } of this.#own()) {
      if (!this.#users.has(destination.ip.toString())) this.#delete(destination.ip);
    }
  }

  removeAll(): void {
    for (const { destination } of this.#own()) this.#delete(destination.ip);
  }

  #own(): Route[] {
    return this.#routes.routes({ family: this.#family, table: RT_TABLE_LOCAL, protocol: ROUTE_PROTOCOL });
  }

  #delete(ip: Ip): boolean {
    try {
      this.#routes.deleteRoute(this.#key(ip));
      return true;
    } catch (error) {
      // Not one of ours, or gone.
      if (error instanceof FlatnetError && error.code === 'ESRCH') return false;
      throw error;
    }
  }

  #key(ip: Ip): RouteKey {
    const destination = new Cidr(ip, this.#family === 4 ? 32 : 128);
    return { destination, type: 'local', table: RT_TABLE_LOCAL, protocol: ROUTE_PROTOCOL };
  }
}
