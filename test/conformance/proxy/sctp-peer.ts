import { createRequire } from 'node:module';
import { randomInt } from 'node:crypto';
import { SOCK_NONBLOCK, SOCK_RAW, AF_INET, AF_INET6, close, socket } from '../../../src/kernel/libc/libc.ts';
import { withNetns } from '../../../src/kernel/netns/netns.ts';
import { Ip } from '../../../src/net/ip.ts';
import { sleep } from '../../../src/timing/backoff.ts';
import { CHUNK, decodeSctp, encodeSctp, unreachableSctpPort, type SctpPacket } from './sctp-packet.ts';

interface Answer {
  readonly reply?: { readonly host: string; readonly port: number; readonly source: string };
  readonly error?: string;
}

/** Protocol numbers of <netinet/in.h>. */
const IPPROTO_SCTP = 132;
const IPPROTO_ICMP = 1;
const IPPROTO_ICMPV6 = 58;
const POLL_MS = 2;

type Receive = (
  fd: number,
  into: Buffer,
  size: number,
  flags: number,
  from: Buffer,
  length: Buffer,
) => number;
type Send = (fd: number, data: Buffer, size: number, flags: number, to: Buffer, length: number) => number;

const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
const libc = koffi.load(null);
const receiveFrom = libc.func(
  'long recvfrom(int fd, void *data, size_t size, int flags, void *from, void *length)',
) as Receive;
const sendTo = libc.func(
  'long sendto(int fd, const void *data, size_t size, int flags, const void *to, uint32_t length)',
) as Send;

interface RawSocket {
  readonly fd: number;
  readonly family: 4 | 6;
  readonly kind: 'sctp' | 'icmp';
}

interface Call {
  readonly host: string;
  readonly port: number;
  /** Verification tag that the other side chose. */
  tag: number;
  readonly done: (answer: Answer) => void;
}

/**
 * SCTP over raw sockets, as far as a first connection goes (RFC 9260 section 5.1): for kernels without SCTP sockets,
 * whose connection tracking knows the protocol all the same. Answers on its ports with name, port and the source that
 * it sees, in the DATA chunk that goes with COOKIE ACK; other ports get ABORT.
 */
export class SctpPeer {
  readonly #name: string;
  readonly #ports: ReadonlySet<number>;
  readonly #sockets: readonly RawSocket[];
  /** By the caller's own port. */
  readonly #calls = new Map<number, Call>();
  readonly #end = new AbortController();

  constructor(netns: number, name: string, ports: ReadonlySet<number>) {
    this.#name = name;
    this.#ports = ports;
    this.#sockets = withNetns(netns, () => [
      { fd: socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_SCTP), family: 4, kind: 'sctp' },
      { fd: socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_SCTP), family: 6, kind: 'sctp' },
      { fd: socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMP), family: 4, kind: 'icmp' },
      { fd: socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_ICMPV6), family: 6, kind: 'icmp' },
    ]);
    if (ports.size > 0) SctpPeer.#servers.add(this);
  }

  /** All that wait for calls: they are looked after while somebody calls. */
  static readonly #servers = new Set<SctpPeer>();
  static #callers = 0;
  static #polling = false;
  static readonly #active = new Set<SctpPeer>();

  async call(host: string, port: number, signal: AbortSignal): Promise<Answer> {
    const own = this.#freePort();
    SctpPeer.#callers += 1;
    SctpPeer.#active.add(this);
    try {
      return await new Promise((resolve) => {
        this.#calls.set(own, { host, port, tag: 0, done: resolve });
        signal.addEventListener('abort', () => resolve({ error: 'ETIMEDOUT' }), { once: true });
        this.#send(host, { source: own, destination: port, tag: 0, chunks: [initChunk(CHUNK.INIT, own)] });
        void SctpPeer.#poll();
      });
    } finally {
      this.#calls.delete(own);
      SctpPeer.#callers -= 1;
    }
  }

  close(): void {
    this.#end.abort();
    SctpPeer.#servers.delete(this);
    SctpPeer.#active.delete(this);
    for (const { fd } of this.#sockets) close(fd);
  }

  static async #poll(): Promise<void> {
    if (SctpPeer.#polling) return;
    SctpPeer.#polling = true;
    while (SctpPeer.#callers > 0) {
      for (const peer of [...SctpPeer.#active, ...SctpPeer.#servers]) peer.#receiveAll();
      await sleep(POLL_MS);
    }
    SctpPeer.#polling = false;
  }

  #freePort(): number {
    for (;;) {
      const port = randomInt(32768, 61000);
      if (!this.#calls.has(port)) return port;
    }
  }

  #receiveAll(): void {
    const packet = Buffer.alloc(2048);
    const from = Buffer.alloc(28);
    for (const raw of this.#sockets) {
      for (;;) {
        const length = Buffer.from(Uint32Array.of(from.length).buffer);
        const size = receiveFrom(raw.fd, packet, packet.length, 0, from, length);
        if (this.#end.signal.aborted || size < 0) break;
        this.#take(raw, Buffer.from(packet.subarray(0, size)), sourceOf(raw.family, from));
      }
    }
  }

  #take(raw: RawSocket, bytes: Buffer, source: string): void {
    // Raw IPv4 sockets give the header too (raw(7)), those of IPv6 do not (RFC 3542 section 3).
    const payload = raw.family === 4 ? bytes.subarray(((bytes[0] ?? 0) & 0xf) * 4) : bytes;
    if (raw.kind === 'icmp') {
      const port = unreachableSctpPort(raw.family, payload);
      if (port !== undefined) this.#calls.get(port)?.done({ error: 'ECONNREFUSED' });
      return;
    }
    const packet = decodeSctp(payload);
    const call = this.#calls.get(packet.destination);
    if (call !== undefined && call.host === source && call.port === packet.source) this.#goOn(call, packet);
    else if (packet.chunks.some(({ type }) => type === CHUNK.INIT || type === CHUNK.COOKIE_ECHO)) {
      this.#serve(packet, source);
    }
  }

  /** The caller's side. */
  #goOn(call: Call, packet: SctpPacket): void {
    const { destination: own, source: theirs } = packet;
    for (const { type, body } of packet.chunks) {
      if (type === CHUNK.ABORT) call.done({ error: 'ECONNREFUSED' });
      if (type === CHUNK.INIT_ACK) {
        call.tag = body.readUInt32BE(0);
        const echo = { type: CHUNK.COOKIE_ECHO, body: Buffer.from(`${own}`) };
        this.#send(call.host, { source: own, destination: theirs, tag: call.tag, chunks: [echo] });
      }
      if (type === CHUNK.DATA) {
        const [host = '', port = '', seen = ''] = body.subarray(12).toString().split(' ');
        const abort = { type: CHUNK.ABORT, body: Buffer.alloc(0) };
        this.#send(call.host, { source: own, destination: theirs, tag: call.tag, chunks: [abort] });
        call.done({ reply: { host, port: Number(port), source: seen } });
      }
    }
  }

  /** The side that is called. Each side's verification tag is its port number: enough where nobody attacks. */
  #serve(packet: SctpPacket, source: string): void {
    const { source: theirs, destination: own } = packet;
    const answer = (tag: number, ...chunks: SctpPacket['chunks']): void =>
      this.#send(source, { source: own, destination: theirs, tag, chunks });
    for (const { type, body } of packet.chunks) {
      if (type === CHUNK.INIT) {
        const tag = body.readUInt32BE(0);
        if (this.#ports.has(own)) answer(tag, initChunk(CHUNK.INIT_ACK, own));
        else if (this.#ports.size > 0) answer(tag, { type: CHUNK.ABORT, body: Buffer.alloc(0) });
      }
      if (type === CHUNK.COOKIE_ECHO) {
        const text = Buffer.from(`${this.#name} ${own} ${source}`);
        const tag = Number(body.toString().replace(/\0+$/, ''));
        answer(
          tag,
          { type: CHUNK.COOKIE_ACK, body: Buffer.alloc(0) },
          { type: CHUNK.DATA, flags: 3, body: Buffer.concat([Buffer.alloc(12), text]) },
        );
      }
    }
  }

  #send(host: string, packet: SctpPacket): void {
    const ip = Ip.parse(host);
    const raw = this.#sockets.find(({ family, kind }) => kind === 'sctp' && family === ip.family);
    const address = Buffer.alloc(ip.family === 4 ? 16 : 28);
    address.writeUInt16LE(ip.family === 4 ? AF_INET : AF_INET6, 0);
    address.set(ip.toBytes(), ip.family === 4 ? 4 : 8);
    const bytes = encodeSctp(packet);
    if (raw !== undefined) sendTo(raw.fd, bytes, bytes.length, 0, address, address.length);
  }
}

/** INIT and INIT ACK: tag, window, streams out and in, first TSN; INIT ACK with a State Cookie parameter (type 7). */
function initChunk(type: number, tag: number): SctpPacket['chunks'][number] {
  const fixed = Buffer.alloc(16);
  fixed.writeUInt32BE(tag, 0);
  fixed.writeUInt32BE(65_535, 4);
  fixed.writeUInt16BE(1, 8);
  fixed.writeUInt16BE(1, 10);
  fixed.writeUInt32BE(1, 12);
  if (type !== CHUNK.INIT_ACK) return { type, body: fixed };
  return { type, body: Buffer.concat([fixed, Buffer.from([0, 7, 0, 8, 0, 0, 0, 0])]) };
}

function sourceOf(family: 4 | 6, from: Buffer): string {
  return Ip.fromBytes(from.subarray(family === 4 ? 4 : 8, family === 4 ? 8 : 24)).toString();
}
