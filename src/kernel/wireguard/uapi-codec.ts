import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { publicKeyBytes, SecretKey } from './key.ts';
import { wallClock } from './netlink-codec.ts';
import type {
  WireguardChange,
  WireguardDevice,
  WireguardEndpoint,
  WireguardPeer,
  WireguardPeerChange,
} from './objects.ts';

// The text protocol of WireGuard implementations outside the kernel: https://www.wireguard.com/xplatform/. Lines of
// key=value, an empty line ends a request and an answer; keys are hexadecimal.

export const GET_REQUEST = 'get=1\n\n';

const NO_KEY = '0'.repeat(64);

/** Nothing that comes from a user is in here but numbers, addresses and keys that were parsed before. */
export function renderSet(change: WireguardChange): string {
  const lines = ['set=1'];
  if (change.privateKey !== undefined) lines.push(`private_key=${hex(change.privateKey)}`);
  if (change.listenPort !== undefined) lines.push(`listen_port=${change.listenPort}`);
  for (const peer of change.peers ?? []) lines.push(...peerLines(peer));
  return `${lines.join('\n')}\n\n`;
}

function peerLines(peer: WireguardPeerChange): string[] {
  const lines = [`public_key=${publicKeyBytes(peer.publicKey).toString('hex')}`];
  if (peer.remove === true) return [...lines, 'remove=true'];
  const { presharedKey, endpoint, keepalive, allowed } = peer;
  if (presharedKey !== undefined) {
    lines.push(`preshared_key=${presharedKey === null ? NO_KEY : hex(presharedKey)}`);
  }
  if (endpoint !== undefined) lines.push(`endpoint=${formatEndpoint(endpoint)}`);
  if (keepalive !== undefined) lines.push(`persistent_keepalive_interval=${keepalive}`);
  if (allowed !== undefined) {
    lines.push('replace_allowed_ips=true', ...allowed.map((range) => `allowed_ip=${range.toString()}`));
  }
  return lines;
}

/** `192.0.2.1:51820`, `[2001:db8::1]:51820`, as wg prints it. */
export function formatEndpoint({ ip, port }: WireguardEndpoint): string {
  return ip.family === 4 ? `${ip.toString()}:${port}` : `[${ip.toString()}]:${port}`;
}

const hex = (key: SecretKey): string => key.reveal().toString('hex');

interface Line {
  readonly key: string;
  readonly value: string;
}

/** The errno of an answer: 0, or a positive number. Throws EBADMSG where there is none. */
export function readErrno(answer: string): number {
  const line = /^errno=(-?\d+)$/m.exec(answer);
  if (line === null) throw malformed('an answer without errno');
  return Math.abs(Number(line[1]));
}

/** The device that an answer to `GET_REQUEST` describes. Lines that are not known are passed over. */
export function parseDevice(name: string, answer: string): WireguardDevice {
  const blocks: Line[][] = [[]];
  for (const text of answer.split('\n')) {
    const at = text.indexOf('=');
    if (at === -1) continue;
    const line = { key: text.slice(0, at), value: text.slice(at + 1) };
    if (line.key === 'public_key') blocks.push([]);
    blocks.at(-1)?.push(line);
  }
  const [device = [], ...peers] = blocks;
  const privateKey = find(device, 'private_key');
  return {
    name,
    publicKey: privateKey === undefined ? undefined : keyOf(privateKey).publicKey(),
    listenPort: numberOf(find(device, 'listen_port')),
    peers: peers.map(parsePeer),
  };
}

function parsePeer(lines: readonly Line[]): WireguardPeer {
  const endpoint = find(lines, 'endpoint');
  const preshared = find(lines, 'preshared_key');
  return {
    publicKey: keyOf(find(lines, 'public_key') ?? '')
      .reveal()
      .toString('base64'),
    presharedKey: preshared === undefined || preshared === NO_KEY ? undefined : keyOf(preshared),
    endpoint: endpoint === undefined ? undefined : parseEndpoint(endpoint),
    allowed: lines.filter(({ key }) => key === 'allowed_ip').map(({ value }) => Cidr.parse(value)),
    keepalive: numberOf(find(lines, 'persistent_keepalive_interval')),
    lastHandshake: wallClock(
      bigOf(find(lines, 'last_handshake_time_sec')),
      bigOf(find(lines, 'last_handshake_time_nsec')),
    ),
    rxBytes: bigOf(find(lines, 'rx_bytes')),
    txBytes: bigOf(find(lines, 'tx_bytes')),
  };
}

function parseEndpoint(text: string): WireguardEndpoint | undefined {
  const match = /^\[?([^\]]+)\]?:(\d+)$/.exec(text);
  // An IPv6 address may be followed by its zone, which the address alone does not have.
  const ip = Ip.tryParse(match?.[1]?.replace(/%.*$/, '') ?? '');
  return ip === undefined ? undefined : { ip, port: Number(match?.[2]) };
}

const find = (lines: readonly Line[], wanted: string): string | undefined =>
  lines.find(({ key }) => key === wanted)?.value;

function numberOf(text: string | undefined): number {
  const value = Number(text ?? 0);
  if (!Number.isSafeInteger(value)) throw malformed('a number that is none');
  return value;
}

function bigOf(text = '0'): bigint {
  if (!/^\d+$/.test(text)) throw malformed('a number that is none');
  return BigInt(text);
}

function keyOf(text: string): SecretKey {
  if (!/^[0-9a-f]{64}$/.test(text)) throw malformed('a key that is not of 64 hexadecimal digits');
  return SecretKey.fromBytes(Buffer.from(text, 'hex'));
}

function malformed(what: string): FlatnetError {
  return new FlatnetError(`malformed answer of wireguard-go: ${what}`, { code: 'EBADMSG' });
}
