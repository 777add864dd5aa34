import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Mac } from '../../net/mac.ts';
import { AF_INET6 } from '../libc/libc.ts';
import { AF_BRIDGE, AF_UNSPEC, IFF_LOOPBACK, IFF_UP } from './constants.ts';
import {
  decodeLinkInfo,
  optional,
  writeLinkInfo,
  writeLinkInfoChange,
  writePort,
} from './link-info-codec.ts';
import { Attributes, MessageBuilder } from './message.ts';
import type { BridgePort, Link, LinkChange, LinkStats, NewLink, NewVethPeer, OperState } from './objects.ts';

// struct ifinfomsg of <linux/rtnetlink.h>, attributes of <linux/if_link.h>.
const IFINFO_LENGTH = 16;
const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  PROTINFO: 12,
  TXQLEN: 13,
  OPERSTATE: 16,
  LINKINFO: 18,
  IFALIAS: 20,
  STATS64: 23,
  AF_SPEC: 26,
  NET_NS_FD: 28,
  LINK_NETNSID: 37,
} as const;
/** IFLA_INET6_ADDR_GEN_MODE within the AF_INET6 nest of IFLA_AF_SPEC, and enum in6_addr_gen_mode. */
const INET6_ADDR_GEN_MODE = 8;
const ADDR_GEN_MODES = { eui64: 0, none: 1 } as const;
const OPER_STATES: readonly OperState[] = [
  'unknown',
  'notpresent',
  'down',
  'lowerlayerdown',
  'testing',
  'dormant',
  'up',
];

/** Throws EINVAL for a name that the kernel would cut or refuse (IFNAMSIZ, dev_valid_name). */
export function checkLinkName(name: string): string {
  const bad = name === '' || name === '.' || name === '..' || /[/:\s\0]/.test(name);
  if (bad || Buffer.byteLength(name) > 15) {
    throw new FlatnetError(`"${name}" is not a name for a network device`, {
      code: 'EINVAL',
      hint: 'at most 15 bytes, without slash, colon and white space',
    });
  }
  return name;
}

/** The payload of RTM_NEWLINK that creates a link. */
export function encodeNewLink(link: NewLink): Buffer {
  const builder = ifinfo(AF_UNSPEC, 0, link.up);
  writeCommon(builder, { ...link, name: link.name });
  if (link.master !== undefined) builder.attrU32(IFLA.MASTER, link.master);
  builder.nest(IFLA.LINKINFO, () => {
    writeLinkInfo(builder, link, () => {
      if (link.kind === 'veth') writePeer(builder, link.peer);
    });
  });
  return builder.finish();
}

/** The payload of RTM_NEWLINK (without NLM_F_CREATE) that changes the link with this index. */
export function encodeLinkChange(index: number, change: LinkChange): Buffer {
  const builder = ifinfo(AF_UNSPEC, index, change.up);
  writeCommon(builder, change);
  if (change.master !== undefined) builder.attrU32(IFLA.MASTER, change.master ?? 0);
  const { addrGenMode } = change;
  if (addrGenMode !== undefined) {
    builder.nest(IFLA.AF_SPEC, () =>
      builder.nest(AF_INET6, () => builder.attrU8(INET6_ADDR_GEN_MODE, ADDR_GEN_MODES[addrGenMode])),
    );
  }
  if (change.ipip !== undefined || change.port !== undefined)
    builder.nest(IFLA.LINKINFO, () => writeLinkInfoChange(builder, change));
  return builder.finish();
}

/** As `encodeLinkChange`, for the link with this name: what the kernel does not do while it makes a link. */
export function encodeLinkCompletion(name: string, change: Pick<LinkChange, 'up' | 'alias'>): Buffer {
  const builder = ifinfo(AF_UNSPEC, 0, change.up);
  writeCommon(builder, { ...change, name });
  return builder.finish();
}

/** The payload of RTM_SETLINK that changes flags of a bridge's port. */
export function encodeBridgePortChange(index: number, change: Partial<BridgePort>): Buffer {
  const builder = ifinfo(AF_BRIDGE, index);
  builder.nest(IFLA.PROTINFO, () => writePort(builder, change));
  return builder.finish();
}

/** The payload that names one link, or none with index 0: for RTM_GETLINK and RTM_DELLINK. */
export function encodeLinkReference(reference: number | string): Buffer {
  const builder = ifinfo(AF_UNSPEC, typeof reference === 'number' ? reference : 0);
  if (typeof reference === 'string') builder.attrString(IFLA.IFNAME, checkLinkName(reference));
  return builder.finish();
}

/**
 * Decodes RTM_NEWLINK and RTM_DELLINK. Undefined for messages of the family AF_BRIDGE: they tell of a port, and a
 * DELLINK among them means that the link left its bridge, not that it is gone.
 */
export function decodeLink(body: Buffer): Link | undefined {
  if (body.length < IFINFO_LENGTH || body.readUInt8(0) !== AF_UNSPEC) return undefined;
  const flags = body.readUInt32LE(8);
  const attributes = Attributes.parse(body, IFINFO_LENGTH);
  const mac = attributes.bytes(IFLA.ADDRESS);
  return {
    index: body.readInt32LE(4),
    name: attributes.string(IFLA.IFNAME) ?? '',
    mtu: attributes.u32(IFLA.MTU) ?? 0,
    up: (flags & IFF_UP) !== 0,
    operState: OPER_STATES[attributes.u8(IFLA.OPERSTATE) ?? 0] ?? 'unknown',
    flags,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    txQueueLength: attributes.u32(IFLA.TXQLEN) ?? 0,
    ...(mac?.length === 6 ? { mac: new Mac(mac) } : {}),
    ...optional('master', attributes.u32(IFLA.MASTER)),
    ...optional('parent', attributes.u32(IFLA.LINK)),
    ...optional('parentNetnsId', attributes.i32(IFLA.LINK_NETNSID)),
    ...optional('alias', attributes.string(IFLA.IFALIAS)),
    ...decodeLinkInfo(attributes.nested(IFLA.LINKINFO)),
    stats: decodeStats(attributes.bytes(IFLA.STATS64)),
  };
}

function ifinfo(family: number, index: number, up?: boolean): MessageBuilder {
  const flags = up === true ? IFF_UP : 0;
  const changed = up === undefined ? 0 : IFF_UP;
  return new MessageBuilder().u8(family).u8(0).u16(0).i32(index).u32(flags).u32(changed);
}

function writeCommon(builder: MessageBuilder, link: LinkChange): void {
  if (link.name !== undefined) builder.attrString(IFLA.IFNAME, checkLinkName(link.name));
  if (link.mac !== undefined) builder.attrBytes(IFLA.ADDRESS, link.mac.bytes);
  if (link.mtu !== undefined) builder.attrU32(IFLA.MTU, link.mtu);
  if (link.txQueueLength !== undefined) builder.attrU32(IFLA.TXQLEN, link.txQueueLength);
  if (link.alias !== undefined) builder.attrString(IFLA.IFALIAS, link.alias);
  if (link.netns !== undefined) builder.attrU32(IFLA.NET_NS_FD, link.netns);
}

function writePeer(builder: MessageBuilder, peer: NewVethPeer): void {
  // Not IFF_UP: veth_open refuses (ENOTCONN) before the two ends are tied, see `encodeLinkCompletion`.
  builder.bytes(ifinfo(AF_UNSPEC, 0).finish());
  writeCommon(builder, peer);
}

/** struct rtnl_link_stats64: counters of 8 bytes in this order. */
function decodeStats(stats: Buffer | undefined): LinkStats {
  // Without a BigInt each: every event about a link comes by here.
  const counter = (position: number): number =>
    stats === undefined || stats.length < position * 8 + 8
      ? 0
      : stats.readUInt32LE(position * 8) + stats.readUInt32LE(position * 8 + 4) * 2 ** 32;
  return {
    rxPackets: counter(0),
    txPackets: counter(1),
    rxBytes: counter(2),
    txBytes: counter(3),
    rxErrors: counter(4),
    txErrors: counter(5),
    rxDropped: counter(6),
    txDropped: counter(7),
  };
}
