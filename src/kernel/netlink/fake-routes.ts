import { Cidr } from '../../net/cidr.ts';
import type { Ip } from '../../net/ip.ts';
import { ERRNO, errnoError } from '../libc/errno.ts';
import { showRoute } from './describe.ts';
import { RT_SCOPE_HOST, RT_SCOPE_LINK, RT_TABLE_LOCAL, RT_TABLE_MAIN, RTPROT_KERNEL } from './constants.ts';
import type { Address, NewRoute, NextHop, Route, RouteKey, Rule } from './objects.ts';
import { scopeOf } from './route-codec.ts';

/** What the routes of the fake need to know of its links. */
export interface LinkFacts {
  exists(index: number): boolean;
  isUp(index: number): boolean;
  isLoopback(index: number): boolean;
}

/** Metrics that the kernel gives to IPv6 routes: its own for a prefix, and others without one. */
const V6_PREFIX_METRIC = 256;
const V6_DEFAULT_METRIC = 1024;

/** The routing tables of one namespace of the fake, with the kernel's checks of fib_semantics.c and route.c. */
export class FakeRoutes {
  readonly #links: LinkFacts;
  #routes: Route[] = [];

  constructor(links: LinkFacts) {
    this.#links = links;
  }

  all(): readonly Route[] {
    return this.#routes;
  }

  add(wanted: NewRoute, mode: 'add' | 'replace'): Route {
    const doing = `${mode} route ${showRoute(wanted)}`;
    const route = this.#resolve(wanted, doing);
    const at = this.#routes.findIndex((other) => sameSlot(other, route));
    if (at !== -1 && mode === 'add') throw errnoError(doing, ERRNO.EEXIST);
    if (at === -1) this.#routes.push(route);
    else this.#routes[at] = route;
    return route;
  }

  remove(key: RouteKey): Route {
    const at = this.#routes.findIndex((route) => matches(route, key));
    const [gone] = at === -1 ? [] : this.#routes.splice(at, 1);
    if (gone === undefined) throw errnoError(`delete route ${showRoute(key)}`, ERRNO.ESRCH);
    return gone;
  }

  /** Routes that an address brings along, the local one also while its link is down; returns those that are new. */
  connect(address: Address, noPrefixRoute: boolean): Route[] {
    const own = connectedRoutes(address, noPrefixRoute, this.#links.isLoopback(address.link));
    const possible = this.#links.isUp(address.link) ? own : own.filter((route) => route.type === 'local');
    const fresh = possible.filter(
      (route) => !this.#routes.some((other) => sameSlot(other, route) && other.link === route.link),
    );
    this.#routes.push(...fresh);
    return fresh;
  }

  /** Takes away what `connect` brought for this address; returns it. */
  disconnect(address: Address): Route[] {
    const own = connectedRoutes(address, false, this.#links.isLoopback(address.link));
    return this.#drop((route) =>
      own.some((one) => route.protocol === RTPROT_KERNEL && sameSlot(one, route) && one.link === route.link),
    );
  }

  /** Takes away the routes over a link that is gone, or switched off: then the IPv4 local ones stay. */
  dropLink(link: number, gone: boolean): Route[] {
    const stays = (route: Route): boolean =>
      !gone && route.type === 'local' && route.destination.family === 4;
    const dropped = this.#drop((route) => route.link === link && !stays(route));
    this.#routes = this.#routes.flatMap((route) => {
      if (route.nextHops?.some((hop) => hop.link === link) !== true) return [route];
      const left = route.nextHops.filter((hop) => hop.link !== link);
      return left.length === 0 ? [] : [{ ...route, nextHops: left }];
    });
    return dropped;
  }

  /** The answer to `ip route get`. */
  lookup(destination: Ip, rules: readonly Rule[], sourceOf: (link: number) => Ip | undefined): Route {
    const doing = `look up the route to ${destination.toString()}`;
    const found = this.#find(destination, rules);
    if (found === undefined) throw errnoError(doing, ERRNO.ENETUNREACH);
    if (found.type === 'blackhole') throw errnoError(doing, ERRNO.EINVAL);
    if (found.type === 'unreachable') throw errnoError(doing, ERRNO.EHOSTUNREACH);
    if (found.type === 'prohibit') throw errnoError(doing, ERRNO.EACCES);
    const { nextHops, ...rest } = found;
    const hop = nextHops?.[0] ?? {};
    const link = hop.link ?? found.link;
    const source = found.source ?? (link === undefined ? undefined : sourceOf(link));
    const destinationCidr = new Cidr(destination, destination.family === 4 ? 32 : 128);
    return { ...rest, ...hop, destination: destinationCidr, onlink: false, ...(source && { source }) };
  }

  #drop(gone: (route: Route) => boolean): Route[] {
    const dropped = this.#routes.filter(gone);
    this.#routes = this.#routes.filter((route) => !gone(route));
    return dropped;
  }

  #find(destination: Ip, rules: readonly Rule[]): Route | undefined {
    for (const rule of rules.filter((one) => one.family === destination.family && one.mark === undefined)) {
      const inTable = this.#routes.filter((route) => route.table === rule.table);
      const best = bestOf(inTable, destination);
      if (best !== undefined && best.type !== 'throw') return best;
    }
    return undefined;
  }

  #resolve(wanted: NewRoute, doing: string): Route {
    const { nextHops, ...single } = wanted;
    const family = wanted.destination.family;
    const hops = nextHops?.map((hop) => this.#resolveHop(hop, wanted, doing));
    const forwards = (wanted.type ?? 'unicast') === 'unicast' || wanted.type === 'local';
    const hop = forwards && hops === undefined ? this.#resolveHop(single, wanted, doing) : {};
    const metric = wanted.metric ?? (family === 6 ? V6_DEFAULT_METRIC : undefined);
    return {
      destination: wanted.destination,
      type: wanted.type ?? 'unicast',
      table: wanted.table ?? RT_TABLE_MAIN,
      protocol: wanted.protocol ?? 4,
      scope: family === 6 ? 0 : (wanted.scope ?? scopeOf(wanted)),
      ...(hop.link === undefined ? {} : { link: hop.link }),
      ...(hop.gateway === undefined ? {} : { gateway: hop.gateway }),
      onlink: wanted.onlink === true,
      ...(wanted.source === undefined ? {} : { source: this.#checkSource(wanted.source, doing) }),
      ...(metric === undefined || metric === 0 ? {} : { metric }),
      ...(wanted.mtu === undefined ? {} : { mtu: wanted.mtu }),
      ...(hops === undefined ? {} : { nextHops: hops }),
      dead: false,
    };
  }

  #resolveHop(hop: NextHop, route: NewRoute, doing: string): NextHop {
    if (hop.link !== undefined) this.#checkLink(hop.link, doing);
    const shape = { onlink: hop.onlink === true, weight: hop.weight ?? 1 };
    if (hop.gateway === undefined) {
      if (hop.link === undefined) throw errnoError(doing, ERRNO.ENODEV);
      return { ...shape, link: hop.link };
    }
    if (hop.onlink === true) {
      if (hop.link === undefined) throw errnoError(doing, ERRNO.ENODEV);
      return { ...shape, link: hop.link, gateway: hop.gateway };
    }
    const towards = this.#towards(hop.gateway, hop.link);
    if (towards?.link !== undefined && towards.gateway === undefined) {
      return { ...shape, link: towards.link, gateway: hop.gateway };
    }
    const unreachable = route.destination.family === 4 ? ERRNO.ENETUNREACH : ERRNO.EHOSTUNREACH;
    throw errnoError(doing, unreachable, 'Nexthop has invalid gateway');
  }

  #towards(gateway: Ip, link: number | undefined): Route | undefined {
    const usable = (table: number): readonly Route[] =>
      this.#routes.filter((route) => route.table === table && (link === undefined || route.link === link));
    const local = this.#routes.filter((route) => route.table === RT_TABLE_LOCAL && route.type === 'local');
    return bestOf(local, gateway) ?? bestOf(usable(RT_TABLE_MAIN), gateway);
  }

  #checkLink(link: number, doing: string): void {
    if (!this.#links.exists(link)) throw errnoError(doing, ERRNO.ENODEV);
    if (!this.#links.isUp(link)) throw errnoError(doing, ERRNO.ENETDOWN);
  }

  #checkSource(source: Ip, doing: string): Ip {
    const own = this.#routes.some((route) => route.type === 'local' && route.destination.contains(source));
    if (!own) throw errnoError(doing, ERRNO.EINVAL, 'Invalid prefsrc address');
    return source;
  }
}

/** The kernel's own routes for an address: fib_add_ifaddr of IPv4, addrconf_add_ifaddr of IPv6. */
function connectedRoutes(address: Address, noPrefixRoute: boolean, loopback: boolean): Route[] {
  const { ip, prefixLength, link } = address;
  const bits = ip.family === 4 ? 32 : 128;
  const prefix = new Cidr(address.peer ?? ip, prefixLength);
  const base = { protocol: RTPROT_KERNEL, link, onlink: false, dead: false };
  const source = ip.family === 4 ? { source: ip } : {};
  const scope = (value: number): number => (ip.family === 4 ? value : 0);
  const own = new Cidr(ip, bits);
  const found: Route[] = [
    {
      ...base,
      ...source,
      destination: own,
      type: 'local',
      table: RT_TABLE_LOCAL,
      scope: scope(RT_SCOPE_HOST),
    },
  ];
  const several = prefixLength < bits || !prefix.ip.equals(ip);
  if (several && !noPrefixRoute) {
    const kind = loopback
      ? { type: 'local' as const, table: RT_TABLE_LOCAL, scope: scope(RT_SCOPE_HOST) }
      : { type: 'unicast' as const, table: RT_TABLE_MAIN, scope: scope(RT_SCOPE_LINK) };
    const metric = ip.family === 6 ? { metric: V6_PREFIX_METRIC } : {};
    found.push({ ...base, ...source, ...kind, ...metric, destination: prefix });
  }
  if (ip.family === 4 && several && prefixLength < 31) {
    const destination = new Cidr(prefix.last, 32);
    found.push({
      ...base,
      ...source,
      destination,
      type: 'broadcast',
      table: RT_TABLE_LOCAL,
      scope: RT_SCOPE_LINK,
    });
  }
  return found;
}

function bestOf(routes: readonly Route[], destination: Ip): Route | undefined {
  let best: Route | undefined;
  for (const route of routes) {
    if (!route.destination.contains(destination)) continue;
    if (best === undefined || isBetter(route, best)) best = route;
  }
  return best;
}

function isBetter(route: Route, other: Route): boolean {
  const difference = route.destination.prefixLength - other.destination.prefixLength;
  return difference > 0 || (difference === 0 && (route.metric ?? 0) < (other.metric ?? 0));
}

/** Destination, table and metric: where a table has room for one route (without NLM_F_APPEND). */
function sameSlot(a: Route, b: Route): boolean {
  const same = a.destination.equals(b.destination) && a.table === b.table;
  return same && (a.metric ?? 0) === (b.metric ?? 0);
}

function matches(route: Route, key: RouteKey): boolean {
  return (
    route.destination.equals(key.destination) &&
    route.table === (key.table ?? RT_TABLE_MAIN) &&
    agrees(key.type, route.type) &&
    agrees(key.protocol, route.protocol) &&
    agrees(key.link, route.link) &&
    (key.metric === undefined || key.metric === (route.metric ?? 0)) &&
    (key.gateway === undefined || route.gateway?.equals(key.gateway) === true)
  );
}

function agrees<T>(wanted: T | undefined, value: T | undefined): boolean {
  return wanted === undefined || wanted === value;
}
