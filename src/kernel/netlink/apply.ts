import { FlatnetError } from '../../errors/flatnet-error.ts';
import { encodeAddress, encodeAddressKey } from './address-codec.ts';
import { RTM } from './constants.ts';
import { showAddress, showFdb, showNeighbour, showRoute } from './describe.ts';
import { watchRouteEvents } from './events.ts';
import {
  decodeLink,
  encodeBridgePortChange,
  encodeLinkChange,
  encodeLinkReference,
  encodeLinkCompletion,
  encodeNewLink,
} from './link-codec.ts';
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE } from './message.ts';
import { encodeFdbEntry, encodeFdbKey, encodeNeighbour, encodeNeighbourKey } from './neighbour-codec.ts';
import type {
  AddressKey,
  BridgePort,
  FdbKey,
  Link,
  LinkChange,
  NeighbourKey,
  NewAddress,
  NewFdbEntry,
  NewLink,
  NewNeighbour,
  NewRoute,
  NewRule,
  RouteKey,
} from './objects.ts';
import { collect, RouteObserver } from './observe.ts';
import { readTxChecksumOffload, writeTxChecksumOffload } from './offload.ts';
import { encodeRoute, encodeRouteKey } from './route-codec.ts';
import type { RouteKernel, WatchOptions } from './route-kernel.ts';
import { encodeRule } from './rule-codec.ts';
import { Netns } from '../netns/netns.ts';
import { NETLINK_ROUTE, NetlinkSocket } from './socket.ts';

/** The Linux kernel's own links, addresses, routes, neighbours and rules, through rtnetlink. */
export class LinuxRouteKernel extends RouteObserver implements RouteKernel {
  /** Keeps the namespace reachable for the sockets of `watch`. */
  readonly #netns: Netns;

  private constructor(socket: NetlinkSocket, netns: Netns) {
    super(socket);
    this.#netns = netns;
  }

  /** For the namespace given by path or descriptor (which may be closed afterwards), else the own one. */
  static open(netns?: string | number): LinuxRouteKernel {
    const path = typeof netns === 'number' ? `/proc/self/fd/${netns}` : netns;
    const opened = path === undefined ? Netns.current() : Netns.open(path);
    try {
      return new LinuxRouteKernel(NetlinkSocket.open(NETLINK_ROUTE, { netns: opened.fd }), opened);
    } catch (error) {
      opened.close();
      throw error;
    }
  }

  addLink(link: NewLink): Link | undefined {
    const flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO;
    const doing = `add ${link.kind} link ${link.name}`;
    const answer = this.socket.request({ type: RTM.NEWLINK, flags, body: encodeNewLink(link) }, doing);
    if (link.kind === 'veth' && link.peer.up === true) {
      this.#complete(link.peer.name, link.peer.netns, { up: true });
    }
    // rtnl_create_link leaves IFLA_IFALIAS out.
    if (link.alias !== undefined) this.#complete(link.name, link.netns, { alias: link.alias });
    if (link.netns !== undefined) return undefined;
    // Kernels from 6.2 on tell what they made, before they give it its master.
    const [made] = link.alias === undefined ? collect(answer, RTM.NEWLINK, decodeLink) : [];
    if (made === undefined) return this.link(link.name);
    return link.master === undefined ? made : { ...made, master: link.master };
  }

  changeLink(index: number, change: LinkChange): void {
    const body = encodeLinkChange(index, change);
    this.socket.request({ type: RTM.NEWLINK, body }, `change link ${index}`);
  }

  changeBridgePort(index: number, change: Partial<BridgePort>): void {
    const body = encodeBridgePortChange(index, change);
    this.socket.request({ type: RTM.SETLINK, body }, `change bridge port ${index}`);
  }

  deleteLink(index: number): void {
    const body = encodeLinkReference(index);
    this.socket.request({ type: RTM.DELLINK, body }, `delete link ${index}`);
  }

  async deleteLinkElsewhere(reference: number | string): Promise<void> {
    const socket = NetlinkSocket.open(NETLINK_ROUTE, { netns: this.#netns.fd });
    try {
      const body = encodeLinkReference(reference);
      await socket.requestElsewhere({ type: RTM.DELLINK, body }, `delete link ${reference}`);
    } finally {
      socket.close();
    }
  }

  setTxChecksumOffload(index: number, enabled: boolean): void {
    writeTxChecksumOffload(this.socket.fd, this.#nameOf(index), enabled);
  }

  txChecksumOffload(index: number): boolean {
    return readTxChecksumOffload(this.socket.fd, this.#nameOf(index));
  }

  addAddress(address: NewAddress): void {
    this.#newAddress(address, NLM_F_EXCL, 'add');
  }

  replaceAddress(address: NewAddress): void {
    this.#newAddress(address, NLM_F_REPLACE, 'replace');
  }

  deleteAddress(address: AddressKey): void {
    const doing = `delete address ${showAddress(address)}`;
    this.socket.request({ type: RTM.DELADDR, body: encodeAddressKey(address) }, doing);
  }

  addRoute(route: NewRoute): void {
    this.#newRoute(route, NLM_F_EXCL, 'add');
  }

  replaceRoute(route: NewRoute): void {
    this.#newRoute(route, NLM_F_REPLACE, 'replace');
  }

  deleteRoute(route: RouteKey): void {
    const doing = `delete route ${showRoute(route)}`;
    this.socket.request({ type: RTM.DELROUTE, body: encodeRouteKey(route) }, doing);
  }

  setNeighbour(neighbour: NewNeighbour): void {
    const flags = NLM_F_CREATE | NLM_F_REPLACE;
    const doing = `set neighbour ${showNeighbour(neighbour)}`;
    this.socket.request({ type: RTM.NEWNEIGH, flags, body: encodeNeighbour(neighbour) }, doing);
  }

  deleteNeighbour(neighbour: NeighbourKey): void {
    const doing = `delete neighbour ${showNeighbour(neighbour)}`;
    this.socket.request({ type: RTM.DELNEIGH, body: encodeNeighbourKey(neighbour) }, doing);
  }

  setFdbEntry(entry: NewFdbEntry): void {
    // VXLAN replaces unicast entries only; the all-zero and multicast MACs have lists of destinations to append to.
    const [first = 0] = entry.mac.bytes;
    const several = (first & 1) === 1 || entry.mac.bytes.every((byte) => byte === 0);
    const flags = NLM_F_CREATE | (several ? NLM_F_APPEND : NLM_F_REPLACE);
    this.socket.request({ type: RTM.NEWNEIGH, flags, body: encodeFdbEntry(entry) }, `set ${showFdb(entry)}`);
  }

  deleteFdbEntry(entry: FdbKey): void {
    this.socket.request({ type: RTM.DELNEIGH, body: encodeFdbKey(entry) }, `delete ${showFdb(entry)}`);
  }

  addRule(rule: NewRule): void {
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    const doing = `add IPv${rule.family} rule ${rule.priority}`;
    this.socket.request({ type: RTM.NEWRULE, flags, body: encodeRule(rule) }, doing);
  }

  deleteRule(rule: NewRule): void {
    const doing = `delete IPv${rule.family} rule ${rule.priority}`;
    this.socket.request({ type: RTM.DELRULE, body: encodeRule(rule) }, doing);
  }

  watch(options: WatchOptions): void {
    watchRouteEvents(this.#netns.fd, options);
  }

  close(): void {
    this.socket.close();
    this.#netns.close();
  }

  #complete(name: string, netns: number | undefined, change: Pick<LinkChange, 'up' | 'alias'>): void {
    const request = { type: RTM.NEWLINK, body: encodeLinkCompletion(name, change) };
    const doing = `set up link ${name}`;
    if (netns === undefined) {
      this.socket.request(request, doing);
      return;
    }
    const there = NetlinkSocket.open(NETLINK_ROUTE, { netns });
    try {
      there.request(request, doing);
    } finally {
      there.close();
    }
  }

  #newAddress(address: NewAddress, flag: number, verb: string): void {
    const request = { type: RTM.NEWADDR, flags: NLM_F_CREATE | flag, body: encodeAddress(address) };
    this.socket.request(request, `${verb} address ${showAddress(address)}`);
  }

  #newRoute(route: NewRoute, flag: number, verb: string): void {
    const request = { type: RTM.NEWROUTE, flags: NLM_F_CREATE | flag, body: encodeRoute(route) };
    this.socket.request(request, `${verb} route ${showRoute(route)}`);
  }

  #nameOf(index: number): string {
    const name = this.link(index)?.name;
    if (name !== undefined) return name;
    throw new FlatnetError(`there is no link with index ${index}`, { code: 'ENODEV' });
  }
}
