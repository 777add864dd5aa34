import type { Cidr } from '../../net/cidr.ts';
import type { Ip } from '../../net/ip.ts';
import type { Mac } from '../../net/mac.ts';

/** A tunnel device of ours. */
export interface LinkEntry {
  readonly kind: 'link';
  readonly device: string;
  readonly vni: number;
  readonly port: number;
  /** Source of the outer packets. */
  readonly local: Ip;
  /** Name of the underlay's link. */
  readonly underlay: string;
  readonly mtu: number;
  readonly mac: Mac;
}

interface AddressEntry {
  readonly kind: 'address';
  readonly device: string;
  readonly address: Cidr;
}

/** Which MAC a tunnel's far end has: a permanent ARP or NDP entry. */
interface NeighbourEntry {
  readonly kind: 'neighbour';
  readonly device: string;
  readonly ip: Ip;
  readonly mac: Mac;
}

/** Behind which node a MAC lives. */
interface FdbEntry {
  readonly kind: 'fdb';
  readonly device: string;
  readonly mac: Mac;
  readonly via: Ip;
}

interface RouteEntry {
  readonly kind: 'route';
  readonly device: string;
  readonly destination: Cidr;
  readonly via: Ip;
  readonly onlink: boolean;
}

/** One thing that the pod network has in the kernel. Devices are named, so that a plan outlives a device. */
export type Entry = LinkEntry | AddressEntry | NeighbourEntry | FdbEntry | RouteEntry;

export type EntryKind = Entry['kind'];

/** In this order entries are made, in the reverse they are removed: a route comes when its way is paved. */
export const KIND_ORDER: readonly EntryKind[] = ['link', 'address', 'neighbour', 'fdb', 'route'];

/** What the kernel tells entries apart by: of two with one key, the later takes the place of the earlier. */
export function entryKey(entry: Entry): string {
  switch (entry.kind) {
    case 'link':
      return `link ${entry.device}`;
    case 'address':
      return `address ${entry.address.toString()} dev ${entry.device}`;
    case 'neighbour':
      return `neighbour ${entry.ip.toString()} dev ${entry.device}`;
    case 'fdb':
      return `fdb ${entry.mac.toString()} dev ${entry.device}`;
    default:
      return `route ${entry.destination.toString()}`;
  }
}

/** The whole entry in the words of ip(8) and bridge(8): what dry runs and logs print, and what equality means. */
export function formatEntry(entry: Entry): string {
  switch (entry.kind) {
    case 'link':
      return `link ${entry.device} address ${entry.mac.toString()} mtu ${entry.mtu} type vxlan id ${entry.vni} local ${entry.local.toString()} dev ${entry.underlay} dstport ${entry.port} nolearning`;
    case 'address':
      return entryKey(entry);
    case 'neighbour':
      return `neighbour ${entry.ip.toString()} lladdr ${entry.mac.toString()} dev ${entry.device} nud permanent`;
    case 'fdb':
      return `fdb ${entry.mac.toString()} dev ${entry.device} dst ${entry.via.toString()} self permanent`;
    default:
      return `route ${entry.destination.toString()} via ${entry.via.toString()} dev ${entry.device}${entry.onlink ? ' onlink' : ''}`;
  }
}

export const sameEntry = (a: Entry, b: Entry): boolean => formatEntry(a) === formatEntry(b);
