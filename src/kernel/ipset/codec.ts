import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { Attributes, listAttributes, type MessageBuilder } from '../netlink/message.ts';
import type { Ipset, IpsetType, ObservedIpset } from './objects.ts';

// <linux/netfilter/ipset/ip_set.h>, net/netfilter/ipset/ip_set_core.c.
const NFNL_SUBSYS_IPSET = 6;
export const IPSET_CMD = {
  CREATE: 2,
  DESTROY: 3,
  FLUSH: 4,
  SWAP: 6,
  LIST: 7,
  ADD: 9,
  DEL: 10,
  TYPE: 13,
} as const;
/** Every kernel since 2.6.39 speaks 6; those before 4.20 nothing else. */
const PROTOCOL_VERSION = 6;
const ATTR_PROTOCOL = 1;
const ATTR_SETNAME = 2;
const ATTR_TYPENAME = 3;
const ATTR_REVISION = 4;
const ATTR_FAMILY = 5;
const ATTR_FLAGS = 6;
const ATTR_DATA = 7;
const ATTR_ADT = 8;
const FLAG_LIST_HEADER = 4;
const DATA_IP = 1;
const DATA_PORT = 4;
const DATA_PORT_TO = 5;
const DATA_PROTO = 7;
const DATA_IP2 = 20;
const DATA_CIDR2 = 21;
const DATA_HASHSIZE = 18;
const DATA_MAXELEM = 19;
const DATA_ELEMENTS = 24;
const DATA_REFERENCES = 25;
const IPADDR = { 4: 1, 6: 2 } as const;
/** NLA_F_NET_BYTEORDER: numbers without it are refused. */
const NET_BYTEORDER = 0x4000;
const NFPROTO = { 4: 2, 6: 10 } as const;
const NFPROTO_UNSPEC = 0;
const NAME_MAX = 31;
/** As ipset(8) makes them, and kube-proxy. */
const HASH_SIZE = 1024;
const MAX_ELEMENTS = 65_536;
const PROTOCOLS: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 };
const PROTOCOL_NAMES = new Map(Object.entries(PROTOCOLS).map(([name, number]) => [number, name]));

export function ipsetMessageType(command: number): number {
  return (NFNL_SUBSYS_IPSET << 8) | command;
}

/** The fixed part (struct nfgenmsg), the protocol's version and the set that is meant. */
export function writeHead(builder: MessageBuilder, name?: string): MessageBuilder {
  builder.u8(NFPROTO[4]).u8(0).u16be(0).attrU8(ATTR_PROTOCOL, PROTOCOL_VERSION);
  if (name === undefined) return builder;
  if (name === '' || Buffer.byteLength(name) > NAME_MAX) {
    throw new FlatnetError(`"${name}" is no name for an ipset: 1 to ${NAME_MAX} bytes`, { code: 'EINVAL' });
  }
  return builder.attrString(ATTR_SETNAME, name);
}

/** Asks which revisions of a type the kernel has. */
export function writeTypeQuery(builder: MessageBuilder, set: Ipset): void {
  writeHead(builder);
  builder.attrString(ATTR_TYPENAME, set.type);
  builder.attrU8(ATTR_FAMILY, familyOf(set));
}

/** The highest revision, from the answer to a type query. */
export function decodeRevision(body: Buffer): number {
  return Attributes.parse(body, 4).u8(ATTR_REVISION) ?? 0;
}

export function writeCreate(builder: MessageBuilder, set: Ipset, revision: number): void {
  writeHead(builder, set.name);
  builder.attrString(ATTR_TYPENAME, set.type);
  builder.attrU8(ATTR_REVISION, revision);
  builder.attrU8(ATTR_FAMILY, familyOf(set));
  builder.nest(ATTR_DATA, (data) => {
    if (set.type === 'bitmap:port') {
      data.attrU16be(DATA_PORT | NET_BYTEORDER, 0);
      data.attrU16be(DATA_PORT_TO | NET_BYTEORDER, 0xffff);
      return;
    }
    data.attrU32be(DATA_HASHSIZE | NET_BYTEORDER, HASH_SIZE);
    data.attrU32be(DATA_MAXELEM | NET_BYTEORDER, MAX_ELEMENTS);
  });
}

export function writeSwap(builder: MessageBuilder, one: string, other: string): void {
  writeHead(builder, one);
  builder.attrString(ATTR_TYPENAME, other);
}

/** Of one set, or of all; `headers`: without entries. */
export function writeList(builder: MessageBuilder, name: string | undefined, headers: boolean): void {
  writeHead(builder, name);
  if (headers) builder.attrU32be(ATTR_FLAGS | NET_BYTEORDER, FLAG_LIST_HEADER);
}

/** Throws INVALID_ENTRY for what is no entry of such a set. */
export function writeEntry(builder: MessageBuilder, set: Ipset, entry: string): void {
  writeHead(builder, set.name);
  const mark = builder.beginNest(ATTR_DATA);
  if (set.type === 'bitmap:port') builder.attrU16be(DATA_PORT | NET_BYTEORDER, portOf(entry, entry));
  else writeHashEntry(builder, set, entry);
  builder.endNest(mark);
}

/** One message of a list: a set's header, or entries, or both. Undefined: neither. */
export function decodeListed(body: Buffer): { set: ObservedIpset; entries: string[] } | undefined {
  const attributes = Attributes.parse(body, 4);
  const name = attributes.string(ATTR_SETNAME);
  if (name === undefined) return undefined;
  const type = attributes.string(ATTR_TYPENAME) ?? '';
  const data = attributes.nested(ATTR_DATA);
  const family = attributes.u8(ATTR_FAMILY);
  return {
    set: {
      name,
      type,
      family: family === NFPROTO[4] ? 4 : family === NFPROTO[6] ? 6 : undefined,
      size: data?.u32be(DATA_ELEMENTS),
      references: data?.u32be(DATA_REFERENCES) ?? 0,
    },
    entries: attributes.list(ATTR_ADT).map(({ value }) => decodeEntry(value)),
  };
}

function writeHashEntry(builder: MessageBuilder, set: Ipset, entry: string): void {
  const [address = '', service = '', second = ''] = entry.split(',', 3);
  writeAddress(builder, DATA_IP, address, set.family, entry);
  if (set.type === 'hash:ip') return;
  const [protocol = '', port = ''] = service.split(':', 2);
  const number = PROTOCOLS[protocol];
  if (number === undefined) throw invalidEntry(entry, set);
  builder.attrU16be(DATA_PORT | NET_BYTEORDER, portOf(port, entry));
  builder.attrU8(DATA_PROTO, number);
  if (set.type === 'hash:ip,port') return;
  if (set.type === 'hash:ip,port,ip') {
    writeAddress(builder, DATA_IP2, second, set.family, entry);
    return;
  }
  const cidr = Cidr.tryParse(second.includes('/') ? second : `${second}/${set.family === 4 ? 32 : 128}`);
  // ipset(8): prefix length 0 is not supported with this type.
  if (cidr === undefined || cidr.prefixLength === 0) throw invalidEntry(entry, set);
  writeAddress(builder, DATA_IP2, cidr.ip.toString(), set.family, entry);
  builder.attrU8(DATA_CIDR2, cidr.prefixLength);
}

function writeAddress(
  builder: MessageBuilder,
  attribute: number,
  address: string,
  family: IpFamily,
  entry: string,
): void {
  const ip = Ip.tryParse(address);
  if (ip === undefined || ip.family !== family) {
    throw new FlatnetError(`"${entry}" has no IPv${family} address where one is needed`, {
      code: 'INVALID_ENTRY',
    });
  }
  const mark = builder.beginNest(attribute);
  builder.attrBytes(IPADDR[family] | NET_BYTEORDER, ip.toBytes());
  builder.endNest(mark);
}

function portOf(text: string, entry: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : -1;
  if (port < 0 || port > 0xffff)
    throw new FlatnetError(`"${entry}": "${text}" is no port`, { code: 'INVALID_ENTRY' });
  return port;
}

function decodeEntry(data: Buffer): string {
  const attributes = Attributes.parse(data);
  const address = readAddress(attributes.bytes(DATA_IP));
  const port = attributes.u16be(DATA_PORT);
  if (address === undefined) return String(port ?? '');
  if (port === undefined) return address;
  const protocol = attributes.u8(DATA_PROTO) ?? 0;
  const service = `${address},${PROTOCOL_NAMES.get(protocol) ?? protocol}:${port}`;
  const second = readAddress(attributes.bytes(DATA_IP2));
  if (second === undefined) return service;
  const prefixLength = attributes.u8(DATA_CIDR2);
  return prefixLength === undefined ? `${service},${second}` : `${service},${second}/${prefixLength}`;
}

function readAddress(nest: Buffer | undefined): string | undefined {
  const [first] = nest === undefined ? [] : listAttributes(nest);
  if (first === undefined) return undefined;
  return first.value.length === 4 ? first.value.join('.') : Ip.fromBytes(first.value).toString();
}

function familyOf(set: Ipset): number {
  return (set.type satisfies IpsetType) === 'bitmap:port' ? NFPROTO_UNSPEC : NFPROTO[set.family];
}

function invalidEntry(entry: string, set: Ipset): FlatnetError {
  return new FlatnetError(`"${entry}" is no entry of a set of type ${set.type}`, { code: 'INVALID_ENTRY' });
}
