import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Link, NewRoute } from '../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../kernel/netlink/route-kernel.ts';
import { Cidr } from '../../net/cidr.ts';
import { DEVICE_ALIAS, indexOf } from './device.ts';
import { KIND_ORDER, type Entry, type LinkEntry } from './entry.ts';
import type { EntryDriver } from './entry-driver.ts';
import { putIpipLink, readIpipLink } from './ipip/ipip-link.ts';
import { putVxlanLink, readVxlanLink } from './vxlan/vxlan-link.ts';

/**
 * rtm_protocol of our routes: the letter F, so that `ip route show proto 70` lists them and nothing else is ever
 * pruned. Free in <linux/rtnetlink.h> and iproute2's rt_protos; Calico has 80, kube-router 17, flannel 3 (boot).
 */
export const ROUTE_PROTOCOL = 70;

/** IFA_F_PERMANENT addresses of scope global; link-local ones the kernel makes itself. */
const SCOPE_GLOBAL = 0;

/** What rtnetlink makes: everything but the devices and peers that a backend's own driver has. */
export class KernelEntries implements EntryDriver {
  readonly #kernel: RouteKernel;
  /**
   * As of the last reading of the kernel, which follows every event of a device. The kernel gives a number to one
   * device only, so one that is out of date hits nothing (ENODEV) instead of another device.
   */
  readonly #indexes = new Map<string, number>();

  constructor(kernel: RouteKernel) {
    this.#kernel = kernel;
  }

  handles(entry: Entry): boolean {
    switch (entry.kind) {
      case 'link':
        return entry.type === 'vxlan' || entry.type === 'ipip';
      case 'wireguard-peer':
      case 'udp-peer':
        return false;
      default:
        return true;
    }
  }

  /** What of ours is in the kernel: our routes, and our devices (marked, or wanted by name) with all that is on them. */
  observe(wantedDevices: ReadonlySet<string>): Entry[] {
    const kernel = this.#kernel;
    const links = kernel.links();
    this.#indexes.clear();
    for (const { name, index } of links) this.#indexes.set(name, index);
    const names = new Map(links.map((link) => [link.index, link.name]));
    const entries: Entry[] = [];
    for (const link of links) {
      if (link.alias !== DEVICE_ALIAS && !wantedDevices.has(link.name)) continue;
      entries.push(...observeDevice(kernel, link, names));
    }
    for (const route of kernel.routes({ protocol: ROUTE_PROTOCOL })) {
      const { destination, gateway, link, onlink, table, type, mtu } = route;
      if (table !== 254 || type !== 'unicast' || link === undefined) continue;
      const device = names.get(link) ?? `#${link}`;
      const via = gateway === undefined ? {} : { via: gateway };
      entries.push({
        kind: 'route',
        device,
        destination,
        ...via,
        onlink,
        ...(mtu === undefined ? {} : { mtu }),
      });
    }
    return entries;
  }

  put(entry: Entry): void {
    try {
      this.#put(entry);
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'ENODEV' || this.#indexes.size === 0)
        throw error;
      this.#indexes.clear();
      this.#put(entry);
    }
  }

  #put(entry: Entry): void {
    const kernel = this.#kernel;
    switch (entry.kind) {
      case 'link':
        this.#indexes.clear();
        if (entry.type === 'vxlan') putVxlanLink(kernel, entry);
        if (entry.type === 'ipip') putIpipLink(kernel, entry);
        return;
      case 'address':
        kernel.replaceAddress({
          link: this.#indexOf(entry.device),
          ip: entry.address.ip,
          prefixLength: entry.address.prefixLength,
          // Nobody else can have it: waiting a second for duplicate address detection would only cost packets.
          ...(entry.address.family === 6 ? { noDad: true } : {}),
        });
        return;
      case 'neighbour':
        kernel.setNeighbour({ link: this.#indexOf(entry.device), ip: entry.ip, mac: entry.mac });
        return;
      case 'fdb':
        kernel.setFdbEntry({ link: this.#indexOf(entry.device), mac: entry.mac, destination: entry.via });
        return;
      case 'route':
        putRoute(kernel, asRoute(entry, this.#indexOf(entry.device)));
        return;
      default:
    }
  }

  remove(entry: Entry): void {
    if (entry.kind === 'link') this.#indexes.clear();
    const link = entry.kind === 'route' ? undefined : this.#kernel.link(entry.device)?.index;
    try {
      if (entry.kind === 'route') {
        const { destination, via } = entry;
        const gateway = via === undefined ? {} : { gateway: via };
        this.#kernel.deleteRoute({ destination, ...gateway, protocol: ROUTE_PROTOCOL });
      } else if (link !== undefined) removeFrom(this.#kernel, link, entry);
    } catch (error) {
      const gone = ['ESRCH', 'ENOENT', 'ENODEV', 'EADDRNOTAVAIL'];
      if (!(error instanceof FlatnetError) || !gone.includes(error.code)) throw error;
    }
  }

  #indexOf(device: string): number {
    const known = this.#indexes.get(device);
    if (known !== undefined) return known;
    const index = indexOf(this.#kernel, device);
    this.#indexes.set(device, index);
    return index;
  }
}

function observeDevice(kernel: RouteKernel, link: Link, names: ReadonlyMap<number, string>): Entry[] {
  const device = link.name;
  const entries: Entry[] = [];
  const entry = asEntry(kernel, link, names);
  if (entry !== undefined) entries.push(entry);
  for (const { ip, prefixLength, scope } of kernel.addresses({ link: link.index })) {
    if (scope !== SCOPE_GLOBAL) continue;
    entries.push({ kind: 'address', device, address: new Cidr(ip, prefixLength) });
  }
  for (const { ip, mac, state } of kernel.neighbours({ link: link.index })) {
    if (state === 'permanent' && mac !== undefined) entries.push({ kind: 'neighbour', device, ip, mac });
  }
  if (link.kind !== 'vxlan') return entries;
  for (const { mac, destination, self, state } of kernel.fdb({ link: link.index })) {
    // What a device learned by itself is its own matter, and ages.
    if (self && state === 'permanent' && destination !== undefined)
      entries.push({ kind: 'fdb', device, mac, via: destination });
  }
  return entries;
}

/** Undefined for a device that is not as ours are: it is then changed, or made anew. */
function asEntry(kernel: RouteKernel, link: Link, names: ReadonlyMap<number, string>): LinkEntry | undefined {
  if (!link.up || link.alias !== DEVICE_ALIAS) return undefined;
  return readVxlanLink(kernel, link, names) ?? readIpipLink(link);
}

function removeFrom(kernel: RouteKernel, link: number, entry: Exclude<Entry, { kind: 'route' }>): void {
  switch (entry.kind) {
    case 'link':
      kernel.deleteLink(link);
      return;
    case 'address':
      kernel.deleteAddress({ link, ip: entry.address.ip, prefixLength: entry.address.prefixLength });
      return;
    case 'neighbour':
      kernel.deleteNeighbour({ link, ip: entry.ip });
      return;
    case 'fdb':
      kernel.deleteFdbEntry({ link, mac: entry.mac, destination: entry.via });
      return;
    default:
  }
}

/** Sorts in place: as entries have to be made; `reverse` for removal. */
export function inOrder<T extends Entry>(entries: readonly T[]): T[] {
  return [...entries].sort((a, b) => KIND_ORDER.indexOf(a.kind) - KIND_ORDER.indexOf(b.kind));
}

/**
 * IPv6 refuses an onlink gateway to which another device leads (ip6_route_check_nh_onlink), as it does while peers
 * change over from a backend without gateways. It looks once: for that moment the gateway has a route of its own.
 */
function putRoute(kernel: RouteKernel, route: NewRoute): void {
  try {
    kernel.replaceRoute(route);
  } catch (error) {
    const { gateway, link, onlink } = route;
    const isRefused = error instanceof FlatnetError && error.code === 'EINVAL' && onlink === true;
    if (!isRefused || gateway?.family !== 6 || link === undefined) throw error;
    const way = { destination: new Cidr(gateway, 128), link, protocol: ROUTE_PROTOCOL };
    kernel.replaceRoute(way);
    try {
      kernel.replaceRoute(route);
    } finally {
      kernel.deleteRoute(way);
    }
  }
}

function asRoute(entry: Extract<Entry, { kind: 'route' }>, link: number): NewRoute {
  return {
    destination: entry.destination,
    ...(entry.via === undefined ? {} : { gateway: entry.via }),
    link,
    onlink: entry.onlink,
    ...(entry.mtu === undefined ? {} : { mtu: entry.mtu }),
    protocol: ROUTE_PROTOCOL,
  };
}
