import type { Cidr } from '../../net/cidr.ts';
import type { Ip } from '../../net/ip.ts';
import type { Mac } from '../../net/mac.ts';

interface Device {
  readonly kind: 'link';
  readonly device: string;
  readonly mtu: number;
}

export interface VxlanLinkEntry extends Device {
  readonly type: 'vxlan';
  readonly vni: number;
  /** UDP. */
  readonly port: number;
  /** Source of the outer packets. */
  readonly local: Ip;
  /** Name of the underlay's link. */
  readonly underlay: string;
  readonly mac: Mac;
  readonly learning: boolean;
  /** Group based policy extension. */
  readonly gbp: boolean;
  /** Checksums of sent packets may be left to the network card. */
  readonly checksumOffload: boolean;
}

export interface IpipLinkEntry extends Device {
  readonly type: 'ipip';
  readonly local: Ip;
}

export interface WireguardLinkEntry extends Device {
  readonly type: 'wireguard';
  /** UDP. */
  readonly port: number;
  /** Base64; the private half never leaves its file. */
  readonly publicKey: string;
}

/** A TUN device whose packets a worker carries in UDP. */
export interface UdpLinkEntry extends Device {
  readonly type: 'udp';
  readonly port: number;
  readonly local: Ip;
}

/** A tunnel device of ours. */
export type LinkEntry = VxlanLinkEntry | IpipLinkEntry | WireguardLinkEntry | UdpLinkEntry;

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

export interface WireguardPeerEntry {
  readonly kind: 'wireguard-peer';
  readonly device: string;
  /** Base64. */
  readonly publicKey: string;
  readonly endpoint: Ip;
  readonly port: number;
  readonly allowed: readonly Cidr[];
  /** Seconds; 0: never. */
  readonly keepalive: number;
}

/** Which node the worker of a UDP tunnel sends a pod CIDR's packets to. */
interface UdpPeerEntry {
  readonly kind: 'udp-peer';
  readonly device: string;
  readonly podCidr: Cidr;
  readonly via: Ip;
  readonly port: number;
}

export interface RouteEntry {
  readonly kind: 'route';
  readonly device: string;
  readonly destination: Cidr;
  /** Absent: everything behind the device is reached directly. */
  readonly via?: Ip;
  readonly onlink: boolean;
  /** Bytes, where packets have to be smaller than the device would take. */
  readonly mtu?: number;
}

/** One thing that the pod network has in the kernel. Devices are named, so that a plan outlives a device. */
export type Entry =
  | LinkEntry
  | AddressEntry
  | NeighbourEntry
  | FdbEntry
  | WireguardPeerEntry
  | UdpPeerEntry
  | RouteEntry;

export type EntryKind = Entry['kind'];

/** In this order entries are made, in the reverse they are removed: a route comes when its way is paved. */
export const KIND_ORDER: readonly EntryKind[] = [
  'link',
  'address',
  'neighbour',
  'fdb',
  'wireguard-peer',
  'udp-peer',
  'route',
];

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
    case 'wireguard-peer':
      return `wireguard-peer ${entry.publicKey} dev ${entry.device}`;
    case 'udp-peer':
      return `udp-peer ${entry.podCidr.toString()} dev ${entry.device}`;
    default:
      return `route ${entry.destination.toString()}`;
  }
}

/** The whole entry in the words of ip(8), bridge(8) and wg(8): what dry runs and logs print, and what equality means. */
export function formatEntry(entry: Entry): string {
  switch (entry.kind) {
    case 'link':
      return formatLink(entry);
    case 'address':
      return entryKey(entry);
    case 'neighbour':
      return `neighbour ${entry.ip.toString()} lladdr ${entry.mac.toString()} dev ${entry.device} nud permanent`;
    case 'fdb':
      return `fdb ${entry.mac.toString()} dev ${entry.device} dst ${entry.via.toString()} self permanent`;
    case 'wireguard-peer': {
      const { device, publicKey, endpoint, port, allowed, keepalive } = entry;
      const where = endpoint.family === 6 ? `[${endpoint.toString()}]` : endpoint.toString();
      const keep = keepalive === 0 ? '' : ` persistent-keepalive ${keepalive}`;
      return `wireguard-peer ${publicKey} dev ${device} endpoint ${where}:${port} allowed-ips ${allowed.map(String).join(',')}${keep}`;
    }
    case 'udp-peer':
      return `udp-peer ${entry.podCidr.toString()} dev ${entry.device} via ${entry.via.toString()} port ${entry.port}`;
    default: {
      const via = entry.via === undefined ? '' : ` via ${entry.via.toString()}`;
      const mtu = entry.mtu === undefined ? '' : ` mtu ${entry.mtu}`;
      return `route ${entry.destination.toString()}${via} dev ${entry.device}${entry.onlink ? ' onlink' : ''}${mtu}`;
    }
  }
}

function formatLink(link: LinkEntry): string {
  const name = `link ${link.device}`;
  switch (link.type) {
    case 'vxlan': {
      const flags = `${link.learning ? 'learning' : 'nolearning'}${link.gbp ? ' gbp' : ''}${link.checksumOffload ? '' : ' tx-checksum off'}`;
      return `${name} address ${link.mac.toString()} mtu ${link.mtu} type vxlan id ${link.vni} local ${link.local.toString()} dev ${link.underlay} dstport ${link.port} ${flags}`;
    }
    case 'ipip':
      return `${name} mtu ${link.mtu} type ipip local ${link.local.toString()} remote any ttl inherit nopmtudisc`;
    case 'wireguard':
      return `${name} mtu ${link.mtu} type wireguard listen-port ${link.port} public-key ${link.publicKey}`;
    default:
      return `${name} mtu ${link.mtu} type tun local ${link.local.toString()} port ${link.port}`;
  }
}

export const sameEntry = (a: Entry, b: Entry): boolean => formatEntry(a) === formatEntry(b);
