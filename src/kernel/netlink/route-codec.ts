import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { AF_INET, AF_INET6 } from '../libc/libc.ts';
import { addressFamily } from './address-codec.ts';
import {
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTPROT_STATIC,
} from './constants.ts';
import { Attributes, MessageBuilder } from './message.ts';
import type { NewRoute, NextHop, Route, RouteKey, RouteType } from './objects.ts';

// struct rtmsg, struct rtnexthop, struct rtvia and attributes of <linux/rtnetlink.h>.
const RTMSG_LENGTH = 12;
const NEXTHOP_LENGTH = 8;
const RTA = {
  DST: 1,
  OIF: 4,
  GATEWAY: 5,
  PRIORITY: 6,
  PREFSRC: 7,
  METRICS: 8,
  MULTIPATH: 9,
  TABLE: 15,
  VIA: 18,
} as const;
const RTAX_MTU = 2;
const RTNH_F_DEAD = 1;
const RTNH_F_ONLINK = 4;
const RTNH_F_LINKDOWN = 16;

/** Position is the RTN_ number. */
const TYPES: readonly (RouteType | undefined)[] = [
  undefined,
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
];

/** The payload of RTM_NEWROUTE. */
export function encodeRoute(route: NewRoute): Buffer {
  const type = TYPES.indexOf(route.type ?? 'unicast');
  const scope = route.scope ?? scopeOf(route);
  const builder = rtmsg(route, { type, scope, protocol: route.protocol ?? RTPROT_STATIC });
  if (route.source !== undefined) builder.attrBytes(RTA.PREFSRC, route.source.toBytes());
  const { mtu, nextHops } = route;
  if (mtu !== undefined) builder.nest(RTA.METRICS, () => builder.attrU32(RTAX_MTU, mtu));
  if (nextHops !== undefined) {
    const hops = nextHops.map((hop) => encodeNextHop(hop, route.destination.family));
    builder.attrBytes(RTA.MULTIPATH, Buffer.concat(hops));
  }
  return builder.finish();
}

/** The payload of RTM_DELROUTE: what is absent matches everything. */
export function encodeRouteKey(key: RouteKey): Buffer {
  const type = key.type === undefined ? 0 : TYPES.indexOf(key.type);
  return rtmsg(key, { type, scope: key.scope ?? RT_SCOPE_NOWHERE, protocol: key.protocol ?? 0 }).finish();
}

/** The payload of a RTM_GETROUTE dump; with strict checking the kernel filters. */
export function encodeRouteQuery(
  family: IpFamily,
  filter: { readonly table?: number; readonly protocol?: number; readonly link?: number },
): Buffer {
  const builder = header(addressFamily(family), 0, {
    table: 0,
    protocol: filter.protocol ?? 0,
    scope: 0,
    type: 0,
    flags: 0,
  });
  if (filter.table !== undefined) builder.attrU32(RTA.TABLE, filter.table);
  if (filter.link !== undefined) builder.attrU32(RTA.OIF, filter.link);
  return builder.finish();
}

/** The payload of RTM_GETROUTE for the route that a packet would take. */
export function encodeRouteLookup(destination: Ip): Buffer {
  const bytes = destination.toBytes();
  const fields = { table: 0, protocol: 0, scope: 0, type: 0, flags: 0 };
  return header(addressFamily(destination.family), bytes.length * 8, fields)
    .attrBytes(RTA.DST, bytes)
    .finish();
}

/** Decodes RTM_NEWROUTE and RTM_DELROUTE; undefined for other families and for kinds of route we do not know. */
export function decodeRoute(body: Buffer): Route | undefined {
  const family = body.readUInt8(0);
  const type = TYPES[body.readUInt8(7)];
  if ((family !== AF_INET && family !== AF_INET6) || type === undefined) return undefined;
  const attributes = Attributes.parse(body, RTMSG_LENGTH);
  const flags = body.readUInt32LE(8);
  const destination = attributes.bytes(RTA.DST) ?? Buffer.alloc(family === AF_INET ? 4 : 16);
  const source = attributes.bytes(RTA.PREFSRC);
  const metric = attributes.u32(RTA.PRIORITY);
  const mtu = attributes.nested(RTA.METRICS)?.u32(RTAX_MTU);
  const multipath = attributes.bytes(RTA.MULTIPATH);
  return {
    destination: new Cidr(Ip.fromBytes(destination), body.readUInt8(1)),
    type,
    table: attributes.u32(RTA.TABLE) ?? body.readUInt8(4),
    protocol: body.readUInt8(5),
    scope: body.readUInt8(6),
    ...decodeHop(attributes),
    onlink: (flags & RTNH_F_ONLINK) !== 0,
    ...(source === undefined ? {} : { source: Ip.fromBytes(source) }),
    ...(metric === undefined ? {} : { metric }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(multipath === undefined ? {} : { nextHops: decodeNextHops(multipath) }),
    dead: (flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) !== 0,
  };
}

/** The scope that ip-route(8) gives: IPv6 has none; an IPv4 gateway must be nearer than what it leads to. */
export function scopeOf(route: NewRoute): number {
  if (route.destination.family === 6) return RT_SCOPE_UNIVERSE;
  switch (route.type ?? 'unicast') {
    case 'local':
      return RT_SCOPE_HOST;
    case 'broadcast':
    case 'multicast':
    case 'anycast':
      return RT_SCOPE_LINK;
    case 'unicast':
      return route.gateway === undefined && route.nextHops === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    default:
      return RT_SCOPE_UNIVERSE;
  }
}

interface Fields {
  readonly table: number;
  readonly protocol: number;
  readonly scope: number;
  readonly type: number;
  readonly flags: number;
}

function header(family: number, destinationLength: number, fields: Fields): MessageBuilder {
  return new MessageBuilder(256)
    .u8(family)
    .u8(destinationLength)
    .u8(0)
    .u8(0)
    .u8(fields.table)
    .u8(fields.protocol)
    .u8(fields.scope)
    .u8(fields.type)
    .u32(fields.flags);
}

function rtmsg(route: RouteKey, fields: Pick<Fields, 'protocol' | 'scope' | 'type'>): MessageBuilder {
  const { destination } = route;
  const table = route.table ?? RT_TABLE_MAIN;
  const flags = route.onlink === true ? RTNH_F_ONLINK : 0;
  const builder = header(addressFamily(destination.family), destination.prefixLength, {
    ...fields,
    flags,
    table: table < 256 ? table : 0,
  });
  if (destination.prefixLength > 0) builder.attrBytes(RTA.DST, destination.ip.toBytes());
  if (table >= 256) builder.attrU32(RTA.TABLE, table);
  if (route.link !== undefined) builder.attrU32(RTA.OIF, route.link);
  if (route.gateway !== undefined) writeGateway(builder, route.gateway, destination.family);
  if (route.metric !== undefined) builder.attrU32(RTA.PRIORITY, route.metric);
  return builder;
}

function writeGateway(builder: MessageBuilder, gateway: Ip, family: IpFamily): void {
  if (gateway.family === family) {
    builder.attrBytes(RTA.GATEWAY, gateway.toBytes());
    return;
  }
  const via = new MessageBuilder(20).u16(addressFamily(gateway.family)).bytes(gateway.toBytes());
  builder.attrBytes(RTA.VIA, via.finish());
}

function encodeNextHop(hop: NextHop, family: IpFamily): Buffer {
  const attributes = new MessageBuilder(64);
  if (hop.gateway !== undefined) writeGateway(attributes, hop.gateway, family);
  return new MessageBuilder(64)
    .u16(NEXTHOP_LENGTH + attributes.length)
    .u8(hop.onlink === true ? RTNH_F_ONLINK : 0)
    .u8((hop.weight ?? 1) - 1)
    .i32(hop.link ?? 0)
    .bytes(attributes.finish())
    .finish();
}

function decodeHop(attributes: Attributes): { link?: number; gateway?: Ip } {
  const link = attributes.u32(RTA.OIF);
  const gateway = attributes.bytes(RTA.GATEWAY) ?? attributes.bytes(RTA.VIA)?.subarray(2);
  return {
    ...(link === undefined ? {} : { link }),
    ...(gateway === undefined ? {} : { gateway: Ip.fromBytes(gateway) }),
  };
}

function decodeNextHops(data: Buffer): NextHop[] {
  const hops: NextHop[] = [];
  for (let at = 0; at + NEXTHOP_LENGTH <= data.length;) {
    const length = Math.max(data.readUInt16LE(at), NEXTHOP_LENGTH);
    const attributes = Attributes.parse(data.subarray(at + NEXTHOP_LENGTH, at + length));
    hops.push({
      ...decodeHop(attributes),
      link: data.readInt32LE(at + 4),
      onlink: (data.readUInt8(at + 2) & RTNH_F_ONLINK) !== 0,
      weight: data.readUInt8(at + 3) + 1,
    });
    at += (length + 3) & ~3;
  }
  return hops;
}
