import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { GENERIC_HEADER_LENGTH, writeGenericHeader } from '../netlink/generic.ts';
import { Attributes, MessageBuilder } from '../netlink/message.ts';
import { publicKeyBytes, SecretKey } from './key.ts';
import type {
  WireguardChange,
  WireguardDevice,
  WireguardEndpoint,
  WireguardPeer,
  WireguardPeerChange,
} from './objects.ts';

// <linux/wireguard.h>.
export const WIREGUARD_FAMILY = 'wireguard';
const VERSION = 1;
const CMD = { GET_DEVICE: 0, SET_DEVICE: 1 } as const;
const DEVICE = { IFNAME: 2, PRIVATE_KEY: 3, PUBLIC_KEY: 4, LISTEN_PORT: 6, PEERS: 8 } as const;
const PEER = {
  PUBLIC_KEY: 1,
  PRESHARED_KEY: 2,
  FLAGS: 3,
  ENDPOINT: 4,
  KEEPALIVE: 5,
  LAST_HANDSHAKE: 6,
  RX_BYTES: 7,
  TX_BYTES: 8,
  ALLOWED_IPS: 9,
} as const;
const REMOVE_ME = 1;
const REPLACE_ALLOWED_IPS = 2;
const ALLOWED = { FAMILY: 1, ADDRESS: 2, PREFIX_LENGTH: 3 } as const;
const AF_INET = 2;
const AF_INET6 = 10;
const KEY_LENGTH = 32;

export function encodeGetDevice(name: string): Buffer {
  const builder = writeGenericHeader(new MessageBuilder(64), CMD.GET_DEVICE, VERSION);
  return builder.attrString(DEVICE.IFNAME, name).finish();
}

export function encodeSetDevice(name: string, change: WireguardChange): Buffer {
  const builder = writeGenericHeader(new MessageBuilder(512), CMD.SET_DEVICE, VERSION);
  builder.attrString(DEVICE.IFNAME, name);
  if (change.privateKey !== undefined) builder.attrBytes(DEVICE.PRIVATE_KEY, change.privateKey.reveal());
  if (change.listenPort !== undefined) builder.attrU16(DEVICE.LISTEN_PORT, change.listenPort);
  const { peers = [] } = change;
  if (peers.length > 0) {
    builder.nest(DEVICE.PEERS, () => {
      for (const peer of peers) builder.nest(0, () => writePeer(builder, peer));
    });
  }
  return builder.finish();
}

function writePeer(builder: MessageBuilder, peer: WireguardPeerChange): void {
  builder.attrBytes(PEER.PUBLIC_KEY, publicKeyBytes(peer.publicKey));
  if (peer.remove === true) {
    builder.attrU32(PEER.FLAGS, REMOVE_ME);
    return;
  }
  if (peer.allowed !== undefined) builder.attrU32(PEER.FLAGS, REPLACE_ALLOWED_IPS);
  if (peer.presharedKey !== undefined) {
    builder.attrBytes(PEER.PRESHARED_KEY, peer.presharedKey?.reveal() ?? Buffer.alloc(KEY_LENGTH));
  }
  if (peer.endpoint !== undefined) builder.attrBytes(PEER.ENDPOINT, encodeEndpoint(peer.endpoint));
  if (peer.keepalive !== undefined) builder.attrU16(PEER.KEEPALIVE, peer.keepalive);
  const { allowed = [] } = peer;
  if (allowed.length === 0) return;
  builder.nest(PEER.ALLOWED_IPS, () => {
    for (const { ip, prefixLength } of allowed) {
      builder.nest(0, () => {
        builder.attrU16(ALLOWED.FAMILY, ip.family === 4 ? AF_INET : AF_INET6);
        builder.attrBytes(ALLOWED.ADDRESS, ip.toBytes());
        builder.attrU8(ALLOWED.PREFIX_LENGTH, prefixLength);
      });
    }
  });
}

/** struct sockaddr_in or sockaddr_in6, whose lengths the kernel tells them apart by. */
function encodeEndpoint({ ip, port }: WireguardEndpoint): Buffer {
  const address = Buffer.alloc(ip.family === 4 ? 16 : 28);
  address.writeUInt16LE(ip.family === 4 ? AF_INET : AF_INET6, 0);
  address.writeUInt16BE(port, 2);
  address.set(ip.toBytes(), ip.family === 4 ? 4 : 8);
  return address;
}

/**
 * The device of all messages of one dump. Where one message does not hold all, the next ones go on with the peers, the
 * first of them perhaps with further ranges of the peer before.
 */
export function decodeDevice(name: string, bodies: readonly Buffer[]): WireguardDevice {
  let publicKey: string | undefined;
  let listenPort = 0;
  const peers: WireguardPeer[] = [];
  for (const body of bodies) {
    const attributes = Attributes.parse(body, GENERIC_HEADER_LENGTH);
    publicKey ??= attributes.bytes(DEVICE.PUBLIC_KEY)?.toString('base64');
    listenPort = attributes.u16(DEVICE.LISTEN_PORT) ?? listenPort;
    for (const { value } of attributes.list(DEVICE.PEERS)) addPeer(peers, decodePeer(value));
  }
  return { name, publicKey, listenPort, peers };
}

function addPeer(peers: WireguardPeer[], peer: WireguardPeer): void {
  const last = peers.at(-1);
  if (last?.publicKey !== peer.publicKey) peers.push(peer);
  else peers[peers.length - 1] = { ...last, allowed: [...last.allowed, ...peer.allowed] };
}

function decodePeer(data: Buffer): WireguardPeer {
  const peer = Attributes.parse(data);
  const preshared = peer.bytes(PEER.PRESHARED_KEY);
  const presharedKey = preshared === undefined ? undefined : SecretKey.fromBytes(preshared);
  return {
    publicKey: peer.bytes(PEER.PUBLIC_KEY)?.toString('base64') ?? '',
    presharedKey: presharedKey?.isZero === true ? undefined : presharedKey,
    endpoint: decodeEndpoint(peer.bytes(PEER.ENDPOINT)),
    allowed: peer.list(PEER.ALLOWED_IPS).flatMap(({ value }) => decodeAllowed(value)),
    keepalive: peer.u16(PEER.KEEPALIVE) ?? 0,
    lastHandshake: decodeTime(peer.bytes(PEER.LAST_HANDSHAKE)),
    rxBytes: peer.u64(PEER.RX_BYTES) ?? 0n,
    txBytes: peer.u64(PEER.TX_BYTES) ?? 0n,
  };
}

function decodeEndpoint(address: Buffer | undefined): WireguardEndpoint | undefined {
  if (address === undefined || address.length < 16) return undefined;
  const port = address.readUInt16BE(2);
  if (address.readUInt16LE(0) === AF_INET) return { ip: Ip.fromBytes(address.subarray(4, 8)), port };
  return address.length < 28 ? undefined : { ip: Ip.fromBytes(address.subarray(8, 24)), port };
}

function decodeAllowed(data: Buffer): Cidr[] {
  const allowed = Attributes.parse(data);
  const address = allowed.bytes(ALLOWED.ADDRESS);
  const prefixLength = allowed.u8(ALLOWED.PREFIX_LENGTH);
  if (address === undefined || prefixLength === undefined) return [];
  return [new Cidr(Ip.fromBytes(address), prefixLength)];
}

/** struct __kernel_timespec: seconds and nanoseconds, 64 bits each. */
function decodeTime(time: Buffer | undefined): number | undefined {
  if (time === undefined || time.length < 16) return undefined;
  return wallClock(time.readBigInt64LE(0), time.readBigInt64LE(8));
}

/** Milliseconds since 1970; undefined for zero, which stands for never. */
export function wallClock(seconds: bigint, nanoseconds: bigint): number | undefined {
  const milliseconds = Number(seconds) * 1000 + Number(nanoseconds) / 1e6;
  return milliseconds === 0 ? undefined : milliseconds;
}
