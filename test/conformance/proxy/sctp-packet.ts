/** Chunk types of RFC 9260 section 3.2. */
export const CHUNK = {
  DATA: 0,
  INIT: 1,
  INIT_ACK: 2,
  ABORT: 6,
  COOKIE_ECHO: 10,
  COOKIE_ACK: 11,
} as const;

interface SctpChunk {
  readonly type: number;
  readonly flags?: number;
  readonly body: Buffer;
}

export interface SctpPacket {
  readonly source: number;
  readonly destination: number;
  /** Verification tag. */
  readonly tag: number;
  readonly chunks: readonly SctpChunk[];
}

const HEADER = 12;

export function encodeSctp({ source, destination, tag, chunks }: SctpPacket): Buffer {
  const header = Buffer.alloc(HEADER);
  header.writeUInt16BE(source, 0);
  header.writeUInt16BE(destination, 2);
  header.writeUInt32BE(tag, 4);
  const packet = Buffer.concat([header, ...chunks.map(encodeChunk)]);
  // CRC32c, in the byte order that RFC 9260 appendix A comes to.
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}

export function decodeSctp(packet: Buffer): SctpPacket {
  const chunks: SctpChunk[] = [];
  for (let at = HEADER; at + 4 <= packet.length;) {
    const length = packet.readUInt16BE(at + 2);
    if (length < 4) break;
    const body = packet.subarray(at + 4, at + length);
    chunks.push({ type: packet[at] ?? 0, flags: packet[at + 1] ?? 0, body });
    at += Math.ceil(length / 4) * 4;
  }
  return {
    source: packet.readUInt16BE(0),
    destination: packet.readUInt16BE(2),
    tag: packet.readUInt32BE(4),
    chunks,
  };
}

/**
 * The source port of the SCTP packet that an ICMP message calls undeliverable to its port: type 3 code 3 (RFC 792), for
 * IPv6 type 1 code 4 (RFC 4443). Undefined for other messages.
 */
export function unreachableSctpPort(family: 4 | 6, icmp: Buffer): number | undefined {
  const [type, code] = icmp;
  const inner = icmp.subarray(8);
  if (family === 4) {
    if (type !== 3 || code !== 3 || inner[9] !== 132) return undefined;
    return inner.readUInt16BE(((inner[0] ?? 0) & 0xf) * 4);
  }
  if (type !== 1 || code !== 4 || inner[6] !== 132) return undefined;
  return inner.readUInt16BE(40);
}

function encodeChunk({ type, flags = 0, body }: SctpChunk): Buffer {
  const chunk = Buffer.alloc(Math.ceil((4 + body.length) / 4) * 4);
  chunk[0] = type;
  chunk[1] = flags;
  chunk.writeUInt16BE(4 + body.length, 2);
  body.copy(chunk, 4);
  return chunk;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  // The reflected Castagnoli polynomial.
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value >>> 0;
});

function crc32c(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}
