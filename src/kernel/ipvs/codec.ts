import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Ip } from '../../net/ip.ts';
import { GENERIC_HEADER_LENGTH, writeGenericHeader } from '../netlink/generic.ts';
import { Attributes, type MessageBuilder } from '../netlink/message.ts';
import {
  FORWARDING,
  HASHED,
  type IpvsChange,
  type IpvsInfo,
  type IpvsProtocol,
  type IpvsTimeouts,
  type ObservedRealServer,
  type RealServer,
  type RealServerKey,
  type VirtualServer,
  type VirtualServerKey,
} from './objects.ts';

// <linux/ip_vs.h>; which attributes a command needs, and their sizes: net/netfilter/ipvs/ip_vs_ctl.c.
export const IPVS_FAMILY = 'IPVS';
const VERSION = 1;
export const IPVS_CMD = {
  NEW_SERVICE: 1,
  SET_SERVICE: 2,
  DEL_SERVICE: 3,
  GET_SERVICE: 4,
  NEW_DEST: 5,
  SET_DEST: 6,
  DEL_DEST: 7,
  GET_DEST: 8,
  SET_CONFIG: 12,
  GET_CONFIG: 13,
  GET_INFO: 15,
  FLUSH: 17,
} as const;
const ATTR_SERVICE = 1;
const ATTR_DEST = 2;
const ATTR_TIMEOUT_TCP = 4;
const ATTR_TIMEOUT_TCP_FIN = 5;
const ATTR_TIMEOUT_UDP = 6;
const SVC_AF = 1;
const SVC_PROTOCOL = 2;
const SVC_ADDR = 3;
const SVC_PORT = 4;
const SVC_FWMARK = 5;
const SVC_SCHED_NAME = 6;
const SVC_FLAGS = 7;
const SVC_TIMEOUT = 8;
const SVC_NETMASK = 9;
const DEST_ADDR = 1;
const DEST_PORT = 2;
const DEST_FWD_METHOD = 3;
const DEST_WEIGHT = 4;
const DEST_U_THRESH = 5;
const DEST_L_THRESH = 6;
const DEST_ACTIVE_CONNS = 7;
const DEST_INACT_CONNS = 8;
const DEST_PERSIST_CONNS = 9;
const DEST_ADDR_FAMILY = 11;
const INFO_VERSION = 1;
const INFO_CONN_TAB_SIZE = 2;

const AF = { 4: 2, 6: 10 } as const;
const PROTOCOLS: Readonly<Record<IpvsProtocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const PROTOCOL_NAMES = new Map(Object.entries(PROTOCOLS).map(([name, n]) => [n, name as IpvsProtocol]));
/** Longest name with its NUL (IP_VS_SCHEDNAME_MAXLEN). */
const SCHEDULER_MAX = 16;
const FORWARDING_MASK = 0x7;

/** Writes a command without attributes: GET_CONFIG, GET_INFO, FLUSH, and GET_SERVICE as a dump. */
export function writeCommand(builder: MessageBuilder, command: number): MessageBuilder {
  return writeGenericHeader(builder, command, VERSION);
}

/** Writes a command about one virtual server: GET_SERVICE, and GET_DEST as a dump. */
export function writeServerCommand(builder: MessageBuilder, command: number, key: VirtualServerKey): void {
  writeCommand(builder, command);
  const mark = builder.beginNest(ATTR_SERVICE);
  writeServerKey(builder, key);
  builder.endNest(mark);
}

/** Writes what a change asks for. Throws FlatnetError where the kernel would read something else than is meant. */
export function writeChange(builder: MessageBuilder, change: IpvsChange): void {
  switch (change.operation) {
    case 'add-server':
    case 'set-server':
      writeCommand(builder, change.operation === 'add-server' ? IPVS_CMD.NEW_SERVICE : IPVS_CMD.SET_SERVICE);
      writeServer(builder, change.server);
      return;
    case 'delete-server':
      writeServerCommand(builder, IPVS_CMD.DEL_SERVICE, change.server);
      return;
    case 'add-destination':
    case 'set-destination':
      writeServerCommand(
        builder,
        change.operation === 'add-destination' ? IPVS_CMD.NEW_DEST : IPVS_CMD.SET_DEST,
        change.server,
      );
      writeDestination(builder, change.destination);
      return;
    case 'delete-destination': {
      writeServerCommand(builder, IPVS_CMD.DEL_DEST, change.server);
      const mark = builder.beginNest(ATTR_DEST);
      writeDestinationKey(builder, change.destination);
      builder.endNest(mark);
      return;
    }
  }
  change satisfies never;
}

export function writeTimeouts(builder: MessageBuilder, timeouts: Partial<IpvsTimeouts>): void {
  writeCommand(builder, IPVS_CMD.SET_CONFIG);
  const { tcp = 0, tcpFin = 0, udp = 0 } = timeouts;
  if (tcp > 0) builder.attrU32(ATTR_TIMEOUT_TCP, tcp);
  if (tcpFin > 0) builder.attrU32(ATTR_TIMEOUT_TCP_FIN, tcpFin);
  if (udp > 0) builder.attrU32(ATTR_TIMEOUT_UDP, udp);
}

/** Undefined for one that is named by a firewall mark, or is of a protocol that a Service cannot have. */
export function decodeServer(body: Buffer): VirtualServer | undefined {
  const service = Attributes.parse(body, GENERIC_HEADER_LENGTH).nested(ATTR_SERVICE);
  const protocol = PROTOCOL_NAMES.get(service?.u16(SVC_PROTOCOL) ?? 0);
  const address = readAddress(service?.bytes(SVC_ADDR), service?.u16(SVC_AF));
  if (service === undefined || protocol === undefined || address === undefined) return undefined;
  if (service.u32(SVC_FWMARK) !== undefined) return undefined;
  const netmask = service.bytes(SVC_NETMASK);
  return {
    protocol,
    address,
    port: service.u16be(SVC_PORT) ?? 0,
    scheduler: service.string(SVC_SCHED_NAME) ?? '',
    flags: (service.u32(SVC_FLAGS) ?? 0) & ~HASHED,
    timeoutSeconds: service.u32(SVC_TIMEOUT) ?? 0,
    clientPrefixLength: readPrefixLength(netmask, address.includes(':')),
  };
}

export function decodeDestination(body: Buffer): ObservedRealServer | undefined {
  const attributes = Attributes.parse(body, GENERIC_HEADER_LENGTH).nested(ATTR_DEST);
  const bytes = attributes?.bytes(DEST_ADDR);
  // Kernels before 3.18 do not tell the family, which then is the virtual server's.
  const family =
    attributes?.u16(DEST_ADDR_FAMILY) ?? (bytes?.subarray(4).some((byte) => byte !== 0) ? AF[6] : AF[4]);
  const address = readAddress(bytes, family);
  if (attributes === undefined || address === undefined) return undefined;
  return {
    address,
    port: attributes.u16be(DEST_PORT) ?? 0,
    weight: attributes.i32(DEST_WEIGHT) ?? 0,
    forwarding: FORWARDING[(attributes.u32(DEST_FWD_METHOD) ?? 0) & FORWARDING_MASK] ?? 'masquerade',
    upperThreshold: attributes.u32(DEST_U_THRESH) ?? 0,
    lowerThreshold: attributes.u32(DEST_L_THRESH) ?? 0,
    activeConnections: attributes.u32(DEST_ACTIVE_CONNS) ?? 0,
    inactiveConnections: attributes.u32(DEST_INACT_CONNS) ?? 0,
    persistentConnections: attributes.u32(DEST_PERSIST_CONNS) ?? 0,
  };
}

export function decodeTimeouts(body: Buffer): IpvsTimeouts {
  const attributes = Attributes.parse(body, GENERIC_HEADER_LENGTH);
  return {
    tcp: attributes.u32(ATTR_TIMEOUT_TCP) ?? 0,
    tcpFin: attributes.u32(ATTR_TIMEOUT_TCP_FIN) ?? 0,
    udp: attributes.u32(ATTR_TIMEOUT_UDP) ?? 0,
  };
}

export function decodeInfo(body: Buffer): IpvsInfo {
  const attributes = Attributes.parse(body, GENERIC_HEADER_LENGTH);
  const version = attributes.u32(INFO_VERSION) ?? 0;
  return {
    version: `${(version >> 16) & 255}.${(version >> 8) & 255}.${version & 255}`,
    connectionTableSize: attributes.u32(INFO_CONN_TAB_SIZE) ?? 0,
  };
}

function writeServerKey(builder: MessageBuilder, { protocol, address, port }: VirtualServerKey): void {
  const ip = Ip.parse(address);
  builder.attrU16(SVC_AF, AF[ip.family]);
  builder.attrU16(SVC_PROTOCOL, PROTOCOLS[protocol]);
  builder.attrBytes(SVC_ADDR, ip.toBytes());
  builder.attrU16be(SVC_PORT, port);
}

function writeServer(builder: MessageBuilder, server: VirtualServer): void {
  const { scheduler, flags, timeoutSeconds, clientPrefixLength } = server;
  if (scheduler === '' || Buffer.byteLength(scheduler) >= SCHEDULER_MAX) {
    throw new FlatnetError(`"${scheduler}" is no name of an IPVS scheduler`, { code: 'EINVAL' });
  }
  const mark = builder.beginNest(ATTR_SERVICE);
  writeServerKey(builder, server);
  builder.attrString(SVC_SCHED_NAME, scheduler);
  // struct ip_vs_flags: the bits, and which of them are meant.
  const bits = Buffer.alloc(8);
  bits.writeUInt32LE(flags, 0);
  bits.writeUInt32LE(0xffffffff, 4);
  builder.attrBytes(SVC_FLAGS, bits);
  builder.attrU32(SVC_TIMEOUT, timeoutSeconds);
  if (server.address.includes(':')) builder.attrU32(SVC_NETMASK, clientPrefixLength);
  else builder.attrU32be(SVC_NETMASK, netmaskOf(clientPrefixLength));
  builder.endNest(mark);
}

function writeDestinationKey(builder: MessageBuilder, { address, port }: RealServerKey): void {
  const ip = Ip.parse(address);
  builder.attrBytes(DEST_ADDR, ip.toBytes());
  builder.attrU16be(DEST_PORT, port);
  builder.attrU16(DEST_ADDR_FAMILY, AF[ip.family]);
}

function writeDestination(builder: MessageBuilder, destination: RealServer): void {
  const mark = builder.beginNest(ATTR_DEST);
  writeDestinationKey(builder, destination);
  builder.attrU32(DEST_FWD_METHOD, FORWARDING.indexOf(destination.forwarding));
  builder.attrU32(DEST_WEIGHT, destination.weight);
  builder.attrU32(DEST_U_THRESH, destination.upperThreshold);
  builder.attrU32(DEST_L_THRESH, destination.lowerThreshold);
  builder.endNest(mark);
}

/** The kernel has 16 bytes for every address. */
function readAddress(bytes: Buffer | undefined, family: number | undefined): string | undefined {
  if (bytes === undefined) return undefined;
  if (family === AF[4] && bytes.length >= 4) return bytes.subarray(0, 4).join('.');
  return family === AF[6] && bytes.length >= 16 ? Ip.fromBytes(bytes.subarray(0, 16)).toString() : undefined;
}

function netmaskOf(prefixLength: number): number {
  return prefixLength === 0 ? 0 : (0xffffffff << (32 - prefixLength)) >>> 0;
}

function readPrefixLength(netmask: Buffer | undefined, v6: boolean): number {
  if (netmask === undefined || netmask.length < 4) return v6 ? 128 : 32;
  return v6 ? netmask.readUInt32LE(0) : Math.clz32(~netmask.readUInt32BE(0));
}
