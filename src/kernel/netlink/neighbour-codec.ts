import { Ip, type IpFamily } from '../../net/ip.ts';
import { Mac } from '../../net/mac.ts';
import { AF_INET, AF_INET6 } from '../libc/libc.ts';
import { addressFamily } from './address-codec.ts';
import { AF_BRIDGE, NTF_MASTER, NTF_PROXY, NTF_SELF } from './constants.ts';
import { Attributes, MessageBuilder } from './message.ts';
import type {
  FdbEntry,
  FdbKey,
  Neighbour,
  NeighbourKey,
  NeighbourState,
  NewFdbEntry,
  NewNeighbour,
} from './objects.ts';

// struct ndmsg and attributes of <linux/neighbour.h>.
const NDMSG_LENGTH = 12;
const NDA = { DST: 1, LLADDR: 2, VLAN: 5, IFINDEX: 8, MASTER: 9 } as const;
const NUD: Readonly<Record<NeighbourState, number>> = {
  none: 0,
  incomplete: 0x01,
  reachable: 0x02,
  stale: 0x04,
  delay: 0x08,
  probe: 0x10,
  failed: 0x20,
  noarp: 0x40,
  permanent: 0x80,
};
const STATE_OF = new Map(Object.entries(NUD).map(([name, bit]) => [bit, name as NeighbourState]));

/** Entries are in one state, except permanent ones: iproute2 sets NUD_NOARP besides, and the kernel keeps it. */
function stateOf(bits: number): NeighbourState {
  return (bits & NUD.permanent) !== 0 ? 'permanent' : (STATE_OF.get(bits) ?? 'none');
}

/** The payload of RTM_NEWNEIGH for an ARP or NDP entry. */
export function encodeNeighbour(neighbour: NewNeighbour): Buffer {
  const proxy = neighbour.proxy === true;
  const state = NUD[neighbour.state ?? 'permanent'];
  const builder = ndmsg(
    addressFamily(neighbour.ip.family),
    neighbour.link,
    state,
    proxy ? NTF_PROXY : 0,
  ).attrBytes(NDA.DST, neighbour.ip.toBytes());
  if (neighbour.mac !== undefined) builder.attrBytes(NDA.LLADDR, neighbour.mac.bytes);
  return builder.finish();
}

/** The payload of RTM_DELNEIGH for an ARP or NDP entry. */
export function encodeNeighbourKey(key: NeighbourKey): Buffer {
  return ndmsg(addressFamily(key.ip.family), key.link, 0, key.proxy === true ? NTF_PROXY : 0)
    .attrBytes(NDA.DST, key.ip.toBytes())
    .finish();
}

/** The payload of a RTM_GETNEIGH dump of ARP or NDP entries. */
export function encodeNeighbourQuery(family: IpFamily, link: number | undefined, proxy: boolean): Buffer {
  const builder = ndmsg(addressFamily(family), 0, 0, proxy ? NTF_PROXY : 0);
  if (link !== undefined) builder.attrU32(NDA.IFINDEX, link);
  return builder.finish();
}

/** Decodes RTM_NEWNEIGH and RTM_DELNEIGH of IPv4 and IPv6; undefined for other families. */
export function decodeNeighbour(body: Buffer): Neighbour | undefined {
  const family = body.readUInt8(0);
  const attributes = Attributes.parse(body, NDMSG_LENGTH);
  const ip = attributes.bytes(NDA.DST);
  if ((family !== AF_INET && family !== AF_INET6) || ip === undefined) return undefined;
  const mac = attributes.bytes(NDA.LLADDR);
  return {
    link: body.readInt32LE(4),
    ip: Ip.fromBytes(ip),
    ...(mac?.length === 6 ? { mac: new Mac(mac) } : {}),
    state: stateOf(body.readUInt16LE(8)),
    proxy: (body.readUInt8(10) & NTF_PROXY) !== 0,
  };
}

/** The payload of RTM_NEWNEIGH for a forwarding entry. */
export function encodeFdbEntry(entry: NewFdbEntry): Buffer {
  return fdb(entry, NUD[entry.state ?? 'permanent']);
}

/** The payload of RTM_DELNEIGH for a forwarding entry. */
export function encodeFdbKey(key: FdbKey): Buffer {
  return fdb(key, 0);
}

/** The payload of a RTM_GETNEIGH dump of forwarding entries. */
export function encodeFdbQuery(link: number | undefined): Buffer {
  const builder = ndmsg(AF_BRIDGE, 0, 0, 0);
  if (link !== undefined) builder.attrU32(NDA.IFINDEX, link);
  return builder.finish();
}

/** Decodes RTM_NEWNEIGH and RTM_DELNEIGH of the family AF_BRIDGE; undefined for others. */
export function decodeFdbEntry(body: Buffer): FdbEntry | undefined {
  if (body.readUInt8(0) !== AF_BRIDGE) return undefined;
  const attributes = Attributes.parse(body, NDMSG_LENGTH);
  const mac = attributes.bytes(NDA.LLADDR);
  if (mac?.length !== 6) return undefined;
  const destination = attributes.bytes(NDA.DST);
  const master = attributes.u32(NDA.MASTER);
  const vlan = attributes.u16(NDA.VLAN);
  return {
    link: body.readInt32LE(4),
    mac: new Mac(mac),
    ...(destination === undefined ? {} : { destination: Ip.fromBytes(destination) }),
    ...(master === undefined ? {} : { master }),
    self: (body.readUInt8(10) & NTF_SELF) !== 0,
    state: stateOf(body.readUInt16LE(8)),
    ...(vlan === undefined ? {} : { vlan }),
  };
}

function ndmsg(family: number, link: number, state: number, flags: number): MessageBuilder {
  return new MessageBuilder(128).u8(family).u8(0).u16(0).i32(link).u16(state).u8(flags).u8(0);
}

function fdb(key: FdbKey, state: number): Buffer {
  const flags = key.table === 'master' ? NTF_MASTER : NTF_SELF;
  const builder = ndmsg(AF_BRIDGE, key.link, state, flags).attrBytes(NDA.LLADDR, key.mac.bytes);
  if (key.destination !== undefined) builder.attrBytes(NDA.DST, key.destination.toBytes());
  return builder.finish();
}
