import type { FlatnetError } from '../../errors/flatnet-error.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { ERRNO, errnoError } from '../libc/errno.ts';
import { showAddress } from './describe.ts';
import { RT_SCOPE_HOST, RT_SCOPE_UNIVERSE } from './constants.ts';
import { createVeth, FakeLinks } from './fake-links.ts';
import { FakeNeighbours } from './fake-neighbours.ts';
import { FakeRoutes } from './fake-routes.ts';
import { FakeRules } from './fake-rules.ts';
import type {
  Address,
  AddressKey,
  BridgePort,
  FdbEntry,
  FdbKey,
  Link,
  LinkChange,
  Neighbour,
  NeighbourKey,
  NewAddress,
  NewFdbEntry,
  NewLink,
  NewNeighbour,
  NewRoute,
  NewRule,
  Route,
  RouteEvent,
  RouteEventGroup,
  RouteKey,
  Rule,
} from './objects.ts';
import type { NeighbourFilter, RouteFilter, RouteKernel, WatchOptions } from './route-kernel.ts';

type Operation = Exclude<keyof RouteKernel, 'watch' | 'close'>;

interface HeldAddress {
  readonly address: Address;
  readonly noPrefixRoute: boolean;
}

const GROUP_OF: Readonly<Record<Exclude<RouteEvent['kind'], 'resync'>, RouteEventGroup>> = {
  link: 'link',
  address: 'address',
  route: 'route',
  neighbour: 'neighbour',
  fdb: 'neighbour',
  rule: 'rule',
};

const LOOPBACK_ADDRESSES = [
  [Ip.parse('127.0.0.1'), 8],
  [Ip.parse('::1'), 128],
] as const;

/** Namespaces that know each other by the descriptors that `netns` fields name. */
export class FakeNetwork {
  readonly #kernels = new Map<number, FakeRouteKernel>();

  /** The kernel of the namespace with this descriptor; made on first use. */
  kernel(netns: number): FakeRouteKernel {
    let found = this.#kernels.get(netns);
    if (found === undefined) {
      found = new FakeRouteKernel(this);
      this.#kernels.set(netns, found);
    }
    return found;
  }

  /** The kernel whose links these are; undefined for one that was made without a network. */
  owner(links: FakeLinks): FakeRouteKernel | undefined {
    return [...this.#kernels.values()].find((kernel) => kernel.owns(links));
  }
}

/**
 * A kernel in memory that answers as Linux does, errors included; the conformance suite holds both to it. Left out:
 * IPv6 link-local addresses and multicast routes that the kernel makes by itself, and everything that needs packets.
 */
export class FakeRouteKernel implements RouteKernel {
  /** Every change that was asked for, in order. */
  readonly calls: Operation[] = [];
  readonly #network: FakeNetwork;
  readonly #links = new FakeLinks();
  readonly #routes = new FakeRoutes(this.#links);
  readonly #neighbours = new FakeNeighbours(this.#links);
  readonly #rules = new FakeRules();
  readonly #noChecksums = new Set<number>();
  readonly #watches = new Set<WatchOptions>();
  readonly #failures = new Map<Operation, FlatnetError>();
  #addresses: HeldAddress[] = [];

  constructor(network: FakeNetwork = new FakeNetwork()) {
    this.#network = network;
  }

  owns(links: FakeLinks): boolean {
    return this.#links === links;
  }

  /** Makes the next call of `operation` throw `error`. */
  failNext(operation: Operation, error: FlatnetError): void {
    this.#failures.set(operation, error);
  }

  /** Tells every watch that events were lost. */
  loseEvents(): void {
    for (const watch of this.#watches) watch.onEvent({ kind: 'resync', reason: 'ENOBUFS' });
  }

  links(): Link[] {
    this.#mayFail('links');
    return this.#links.list();
  }

  link(reference: number | string): Link | undefined {
    this.#mayFail('link');
    return this.#links.find(reference);
  }

  addLink(wanted: NewLink): Link | undefined {
    const doing = `add ${wanted.kind} link ${wanted.name}`;
    this.#begin('addLink');
    const home = this.#at(wanted.netns);
    home.#links.checkName(wanted.name, doing);
    let link: Link;
    if (wanted.kind === 'veth') {
      const there = this.#at(wanted.peer.netns);
      const made = createVeth(home.#links, there.#links, wanted, wanted.peer, doing);
      link = made.link;
      there.#emit({ kind: 'link', action: 'set', link: made.peer });
    } else {
      link = home.#links.create(wanted, doing);
    }
    home.#emit({ kind: 'link', action: 'set', link });
    return wanted.netns === undefined ? link : undefined;
  }

  changeLink(index: number, change: LinkChange): void {
    const doing = `change link ${index}`;
    this.#begin('changeLink');
    const before = this.#links.get(index, doing);
    if (change.netns !== undefined) {
      this.#move(before, change, this.#at(change.netns), doing);
      return;
    }
    const after = this.#links.change(index, change, doing);
    if (before.up && !after.up) this.#wentDown(index, false);
    if (!before.up && after.up) this.#cameUp(index);
    this.#emit({ kind: 'link', action: 'set', link: after });
  }

  changeBridgePort(index: number, change: Partial<BridgePort>): void {
    this.#begin('changeBridgePort');
    this.#links.changePort(index, change, `change bridge port ${index}`);
  }

  deleteLink(index: number): void {
    this.#begin('deleteLink');
    const peer = this.#links.peers.get(index);
    this.#removeLink(index);
    if (peer === undefined) return;
    const other = this.owns(peer.links) ? this : this.#network.owner(peer.links);
    if (other !== undefined) other.#removeLink(peer.index);
  }

  async deleteLinkElsewhere(reference: number | string): Promise<void> {
    // 0 is no link's index.
    this.deleteLink(this.#links.find(reference)?.index ?? 0);
  }

  setTxChecksumOffload(index: number, enabled: boolean): void {
    this.#begin('setTxChecksumOffload');
    this.#links.get(index, `checksum offload of link ${index}`);
    if (enabled) this.#noChecksums.delete(index);
    else this.#noChecksums.add(index);
  }

  txChecksumOffload(index: number): boolean {
    this.#links.get(index, `checksum offload of link ${index}`);
    return !this.#noChecksums.has(index);
  }

  addresses(filter: { readonly link?: number; readonly family?: IpFamily } = {}): Address[] {
    this.#mayFail('addresses');
    return this.#addresses
      .map((held) => held.address)
      .filter((one) => (filter.link ?? one.link) === one.link)
      .filter((one) => (filter.family ?? one.ip.family) === one.ip.family);
  }

  addAddress(address: NewAddress): void {
    this.#begin('addAddress');
    const doing = `add address ${showAddress(address)}`;
    this.#links.get(address.link, doing);
    if (this.#addresses.some((held) => sameAddress(held.address, address))) {
      throw errnoError(doing, ERRNO.EEXIST, 'Address already assigned');
    }
    this.#putAddress(address, doing);
  }

  replaceAddress(address: NewAddress): void {
    this.#begin('replaceAddress');
    this.#addresses = this.#addresses.filter((held) => !sameAddress(held.address, address));
    this.#putAddress(address, `replace address ${showAddress(address)}`);
  }

  deleteAddress(key: AddressKey): void {
    this.#begin('deleteAddress');
    const doing = `delete address ${showAddress(key)}`;
    this.#links.get(key.link, doing);
    const gone = this.#addresses.find((held) => sameAddress(held.address, key));
    if (gone === undefined) throw errnoError(doing, ERRNO.EADDRNOTAVAIL, 'Address not found');
    this.#forgetAddress(gone);
  }

  routes(filter: RouteFilter = {}): Route[] {
    this.#mayFail('routes');
    return this.#routes
      .all()
      .filter((route) => (filter.family ?? route.destination.family) === route.destination.family)
      .filter((route) => (filter.table ?? route.table) === route.table)
      .filter((route) => (filter.protocol ?? route.protocol) === route.protocol)
      .filter((route) => filter.link === undefined || leadsOver(route, filter.link));
  }

  addRoute(route: NewRoute): void {
    this.#begin('addRoute');
    this.#emit({ kind: 'route', action: 'set', route: this.#routes.add(route, 'add') });
  }

  replaceRoute(route: NewRoute): void {
    this.#begin('replaceRoute');
    this.#emit({ kind: 'route', action: 'set', route: this.#routes.add(route, 'replace') });
  }

  deleteRoute(route: RouteKey): void {
    this.#begin('deleteRoute');
    this.#emit({ kind: 'route', action: 'delete', route: this.#routes.remove(route) });
  }

  routeTo(destination: Ip): Route {
    this.#mayFail('routeTo');
    return this.#routes.lookup(
      destination,
      this.#rules.list(),
      (link) => this.addresses({ link, family: destination.family })[0]?.ip,
    );
  }

  neighbours(filter: NeighbourFilter = {}): Neighbour[] {
    this.#mayFail('neighbours');
    return this.#neighbours.list(filter);
  }

  setNeighbour(neighbour: NewNeighbour): void {
    this.#begin('setNeighbour');
    this.#emit({ kind: 'neighbour', action: 'set', neighbour: this.#neighbours.set(neighbour) });
  }

  deleteNeighbour(key: NeighbourKey): void {
    this.#begin('deleteNeighbour');
    this.#emit({ kind: 'neighbour', action: 'delete', neighbour: this.#neighbours.remove(key) });
  }

  fdb(filter: { readonly link?: number } = {}): FdbEntry[] {
    this.#mayFail('fdb');
    return this.#neighbours.fdb(filter.link);
  }

  setFdbEntry(entry: NewFdbEntry): void {
    this.#begin('setFdbEntry');
    this.#emit({ kind: 'fdb', action: 'set', entry: this.#neighbours.setFdb(entry) });
  }

  deleteFdbEntry(key: FdbKey): void {
    this.#begin('deleteFdbEntry');
    this.#emit({ kind: 'fdb', action: 'delete', entry: this.#neighbours.removeFdb(key) });
  }

  rules(family?: IpFamily): Rule[] {
    this.#mayFail('rules');
    return this.#rules.list(family);
  }

  addRule(rule: NewRule): void {
    this.#begin('addRule');
    this.#emit({ kind: 'rule', action: 'set', rule: this.#rules.add(rule) });
  }

  deleteRule(rule: NewRule): void {
    this.#begin('deleteRule');
    this.#emit({ kind: 'rule', action: 'delete', rule: this.#rules.remove(rule) });
  }

  watch(options: WatchOptions): void {
    if (options.signal.aborted) return;
    this.#watches.add(options);
    options.signal.addEventListener('abort', () => void this.#watches.delete(options), { once: true });
  }

  close(): void {
    this.#watches.clear();
  }

  #at(netns: number | undefined): FakeRouteKernel {
    return netns === undefined ? this : this.#network.kernel(netns);
  }

  #begin(operation: Operation): void {
    this.calls.push(operation);
    this.#mayFail(operation);
  }

  #mayFail(operation: Operation): void {
    const error = this.#failures.get(operation);
    if (error === undefined) return;
    this.#failures.delete(operation);
    throw error;
  }

  /** As the kernel's, events arrive after the call that caused them has returned. */
  #emit(event: Exclude<RouteEvent, { kind: 'resync' }>): void {
    for (const watch of this.#watches) {
      if (!watch.groups.includes(GROUP_OF[event.kind])) continue;
      queueMicrotask(() => {
        if (!watch.signal.aborted) watch.onEvent(event);
      });
    }
  }

  #putAddress(wanted: NewAddress, doing: string): void {
    const link = this.#links.get(wanted.link, doing);
    const { noDad: _noDad, noPrefixRoute = false, ...rest } = wanted;
    const label = wanted.ip.family === 4 ? { label: wanted.label ?? link.name } : {};
    const address: Address = {
      ...rest,
      ...label,
      scope: wanted.scope ?? RT_SCOPE_UNIVERSE,
      flags: 0,
      tentative: false,
    };
    const held = { address, noPrefixRoute };
    this.#addresses.push(held);
    this.#emit({ kind: 'address', action: 'set', address });
    this.#connect(held);
  }

  #connect(held: HeldAddress): void {
    for (const route of this.#routes.connect(held.address, held.noPrefixRoute)) {
      this.#emit({ kind: 'route', action: 'set', route });
    }
  }

  #forgetAddress(gone: HeldAddress): void {
    this.#addresses = this.#addresses.filter((held) => held !== gone);
    this.#emit({ kind: 'address', action: 'delete', address: gone.address });
    for (const route of this.#routes.disconnect(gone.address)) {
      this.#emit({ kind: 'route', action: 'delete', route });
    }
    // Another address of the link may want the same prefix route.
    if (this.#links.exists(gone.address.link)) this.#reconnect(gone.address.link);
  }

  #reconnect(link: number): void {
    for (const held of this.#addresses.filter((one) => one.address.link === link)) this.#connect(held);
  }

  #cameUp(link: number): void {
    if (this.#links.isLoopback(link)) this.#addLoopbackAddresses(link);
    this.#reconnect(link);
  }

  #addLoopbackAddresses(link: number): void {
    for (const [ip, prefixLength] of LOOPBACK_ADDRESSES) {
      const address = { link, ip, prefixLength, scope: RT_SCOPE_HOST };
      if (this.#addresses.some((held) => sameAddress(held.address, address))) continue;
      this.#putAddress(address, 'switch on the loopback');
    }
  }

  /** Routes and ARP entries of a link go when it is switched off; of addresses, the IPv6 ones. */
  #wentDown(link: number, gone: boolean): void {
    for (const route of this.#routes.dropLink(link, gone))
      this.#emit({ kind: 'route', action: 'delete', route });
    for (const held of this.#addresses.filter((one) => one.address.link === link)) {
      if (gone || held.address.ip.family === 6) this.#forgetAddress(held);
    }
    for (const neighbour of this.#neighbours.flush(link, gone)) {
      this.#emit({ kind: 'neighbour', action: 'delete', neighbour });
    }
  }

  #removeLink(index: number): void {
    const link = this.#links.take(index, `delete link ${index}`);
    this.#wentDown(index, true);
    this.#links.peers.delete(index);
    this.#emit({ kind: 'link', action: 'delete', link });
  }

  #move(link: Link, change: LinkChange, there: FakeRouteKernel, doing: string): void {
    const name = change.name ?? link.name;
    there.#links.checkName(name, doing);
    const peer = this.#links.peers.get(link.index);
    this.#removeLink(link.index);
    const { netns: _netns, ...rest } = change;
    const index = there.#links.adopt({ ...link, name }, peer);
    there.#links.change(index, { ...rest, up: change.up ?? false }, doing);
    there.#emit({ kind: 'link', action: 'set', link: there.#links.get(index, doing) });
  }
}

function leadsOver(route: Route, link: number): boolean {
  return route.link === link || route.nextHops?.some((hop) => hop.link === link) === true;
}

function sameAddress(one: Address, key: AddressKey): boolean {
  return one.link === key.link && one.ip.equals(key.ip) && one.prefixLength === key.prefixLength;
}
