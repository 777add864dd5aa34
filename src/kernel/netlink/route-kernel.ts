import type { Ip, IpFamily } from '../../net/ip.ts';
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

export interface RouteFilter {
  readonly family?: IpFamily;
  readonly table?: number;
  readonly protocol?: number;
  /** Index of the outgoing link. */
  readonly link?: number;
}

export interface NeighbourFilter {
  readonly family?: IpFamily;
  readonly link?: number;
  /** The proxy entries instead of the ordinary ones. */
  readonly proxy?: boolean;
}

export interface WatchOptions {
  readonly groups: readonly RouteEventGroup[];
  /** Ends the watch. */
  readonly signal: AbortSignal;
  readonly onEvent: (event: RouteEvent) => void;
  /** Room for events not yet read, bytes; 4 MiB when absent. Overflow gives a `resync` event. */
  readonly receiveBufferBytes?: number;
}

/**
 * Links, addresses, routes, neighbours and rules of one network namespace. Every call is synchronous and has taken
 * effect when it returns. Errors are FlatnetErrors whose code is the kernel's errno name (EEXIST, ENODEV, ESRCH …)
 * and whose message names the object and quotes the kernel.
 */
export interface RouteKernel {
  links(): Link[];
  /** By index or name; undefined when there is none. */
  link(reference: number | string): Link | undefined;
  /**
   * Returns the link as it is then (a bridge's new port perhaps without `port`, `operState` perhaps not yet found out),
   * except when it was made in another namespace (`netns`): undefined. EEXIST.
   */
  addLink(link: NewLink): Link | undefined;
  changeLink(index: number, change: LinkChange): void;
  changeBridgePort(index: number, change: Partial<BridgePort>): void;
  /** ENODEV when it is gone already. Of a veth, both ends go. */
  deleteLink(index: number): void;
  /** As `deleteLink`, by index or name, which takes the kernel tens of milliseconds, without holding up the event loop. */
  deleteLinkElsewhere(reference: number | string): Promise<void>;
  /** Checksums of sent packets left to the device; switched off on VXLAN devices whose underlay gets them wrong. */
  setTxChecksumOffload(index: number, enabled: boolean): void;
  txChecksumOffload(index: number): boolean;

  addresses(filter?: { readonly link?: number; readonly family?: IpFamily }): Address[];
  addAddress(address: NewAddress): void;
  /** Adds, or changes the flags of the address that is there. */
  replaceAddress(address: NewAddress): void;
  /** EADDRNOTAVAIL when it is not there. */
  deleteAddress(address: AddressKey): void;

  routes(filter?: RouteFilter): Route[];
  /** EEXIST when a route with the same destination, table and metric is there. */
  addRoute(route: NewRoute): void;
  /** Adds, or puts the route in the place of the one with the same destination, table and metric, in one step. */
  replaceRoute(route: NewRoute): void;
  /** ESRCH when none matches. */
  deleteRoute(route: RouteKey): void;
  /** The route that a packet to `destination` would take. ENETUNREACH where there is none. */
  routeTo(destination: Ip): Route;

  neighbours(filter?: NeighbourFilter): Neighbour[];
  /** Adds or replaces. */
  setNeighbour(neighbour: NewNeighbour): void;
  /** ENOENT when it is not there. */
  deleteNeighbour(neighbour: NeighbourKey): void;

  fdb(filter?: { readonly link?: number }): FdbEntry[];
  /** Adds or replaces the entry of the MAC. */
  setFdbEntry(entry: NewFdbEntry): void;
  /** ENOENT when it is not there. */
  deleteFdbEntry(entry: FdbKey): void;

  rules(family?: IpFamily): Rule[];
  addRule(rule: NewRule): void;
  /** ENOENT when none matches. */
  deleteRule(rule: NewRule): void;

  /** Calls `onEvent` for changes from now on, whoever makes them. Does not keep the process alive by itself. */
  watch(options: WatchOptions): void;
  close(): void;
}
