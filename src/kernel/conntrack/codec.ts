import { Ip, type IpFamily } from '../../net/ip.ts';
import { Attributes, MessageBuilder } from '../netlink/message.ts';
import type { Flow, FlowFilter, FlowTuple, ReplyLookup } from './objects.ts';

// <linux/netfilter/nfnetlink_conntrack.h>
const NFNL_SUBSYS_CTNETLINK = 1;
export const IPCTNL_MSG_CT_GET = (NFNL_SUBSYS_CTNETLINK << 8) | 1;
export const IPCTNL_MSG_CT_DELETE = (NFNL_SUBSYS_CTNETLINK << 8) | 2;
const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;
const CTA_FILTER = 25;
const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;
const CTA_IP_ADDRESSES = { 4: { source: 1, destination: 2 }, 6: { source: 3, destination: 4 } } as const;
const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_FILTER_ORIG_FLAGS = 1;
/** Bits of CTA_FILTER_ORIG_FLAGS: net/netfilter/nf_internals.h of the kernel, not in its public headers. */
const FILTER_IP_DESTINATION = 1 << 1;
const FILTER_PROTOCOL = 1 << 3;
const FILTER_DESTINATION_PORT = 1 << 5;
const AF = { 4: 2, 6: 10 } as const;

/**
 * Request body of a dump. What comes back must be filtered again: kernels before 5.8 do not know the filter and
 * answer with everything.
 */
export function encodeFilter(filter: FlowFilter): Buffer {
  const builder = header(filter.family);
  let flags = FILTER_PROTOCOL;
  builder.nest(CTA_TUPLE_ORIG, (tuple) => {
    // Not for IPv6: ctnetlink_filter_match_tuple takes equal addresses for different ones (`!ipv6_addr_cmp`, seen on
    // Linux 6.18), and would leave out just what is asked for.
    if (filter.destination !== undefined && filter.family === 4) {
      const bytes = Ip.parse(filter.destination).toBytes();
      flags |= FILTER_IP_DESTINATION;
      tuple.nest(CTA_TUPLE_IP, (ip) => ip.attrBytes(CTA_IP_ADDRESSES[filter.family].destination, bytes));
    }
    tuple.nest(CTA_TUPLE_PROTO, (proto) => {
      proto.attrU8(CTA_PROTO_NUM, filter.protocol);
      if (filter.destinationPort === undefined) return;
      flags |= FILTER_DESTINATION_PORT;
      proto.attrU16be(CTA_PROTO_DST_PORT, filter.destinationPort);
    });
  });
  builder.nest(CTA_FILTER, (nest) => nest.attrU32(CTA_FILTER_ORIG_FLAGS, flags));
  return builder.finish();
}

/** Request body that names one entry. */
export function encodeFlow(flow: Flow): Buffer {
  const builder = header(flow.family);
  builder.nest(CTA_TUPLE_ORIG, (tuple) => encodeTuple(tuple, flow, flow.original));
  if (flow.id !== undefined) builder.attrU32be(CTA_ID, flow.id);
  return builder.finish();
}

/** Request body that asks for the entry whose answers look like `reply`. */
export function encodeReply(lookup: ReplyLookup): Buffer {
  const builder = header(lookup.family);
  builder.nest(CTA_TUPLE_REPLY, (tuple) => encodeTuple(tuple, lookup, lookup.reply));
  return builder.finish();
}

function encodeTuple(
  builder: MessageBuilder,
  { family, protocol }: Pick<Flow, 'family' | 'protocol'>,
  tuple: FlowTuple,
): void {
  const addresses = CTA_IP_ADDRESSES[family];
  builder.nest(CTA_TUPLE_IP, (ip) => {
    ip.attrBytes(addresses.source, Ip.parse(tuple.source).toBytes());
    ip.attrBytes(addresses.destination, Ip.parse(tuple.destination).toBytes());
  });
  builder.nest(CTA_TUPLE_PROTO, (proto) => {
    proto.attrU8(CTA_PROTO_NUM, protocol);
    proto.attrU16be(CTA_PROTO_SRC_PORT, tuple.sourcePort);
    proto.attrU16be(CTA_PROTO_DST_PORT, tuple.destinationPort);
  });
}

/** Undefined for protocols without ports. */
export function decodeFlow(body: Buffer): Flow | undefined {
  const family: IpFamily = body[0] === AF[6] ? 6 : 4;
  const attributes = Attributes.parse(body, 4);
  const original = attributes.nested(CTA_TUPLE_ORIG);
  const reply = attributes.nested(CTA_TUPLE_REPLY);
  if (original === undefined || reply === undefined) return undefined;
  const protocol = original.nested(CTA_TUPLE_PROTO)?.u8(CTA_PROTO_NUM);
  const there = decodeTuple(original, family);
  const back = decodeTuple(reply, family);
  if (protocol === undefined || there === undefined || back === undefined) return undefined;
  return { family, protocol, original: there, reply: back, id: attributes.u32be(CTA_ID) };
}

function decodeTuple(tuple: Attributes, family: IpFamily): FlowTuple | undefined {
  const ip = tuple.nested(CTA_TUPLE_IP);
  const proto = tuple.nested(CTA_TUPLE_PROTO);
  const source = ip?.bytes(CTA_IP_ADDRESSES[family].source);
  const destination = ip?.bytes(CTA_IP_ADDRESSES[family].destination);
  const sourcePort = proto?.u16be(CTA_PROTO_SRC_PORT);
  const destinationPort = proto?.u16be(CTA_PROTO_DST_PORT);
  if (source === undefined || destination === undefined) return undefined;
  if (sourcePort === undefined || destinationPort === undefined) return undefined;
  return {
    source: Ip.fromBytes(source).toString(),
    sourcePort,
    destination: Ip.fromBytes(destination).toString(),
    destinationPort,
  };
}

/** struct nfgenmsg. */
function header(family: IpFamily): MessageBuilder {
  return new MessageBuilder(192).u8(AF[family]).u8(0).u16be(0);
}
