// Frames of SPDY/3.1 as far as kubectl before 1.30 uses them for exec, attach and port-forward.

export const FLAG_FIN = 1;

const VERSION_BITS = 0x8003;
const STREAM_ID_MASK = 0x7fffffff;
const HEAD_BYTES = 8;

export const FRAME = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  ping: 6,
  goAway: 7,
} as const;

export type Frame =
  | { readonly kind: 'data'; readonly stream: number; readonly fin: boolean; readonly data: Buffer }
  | { readonly kind: 'control'; readonly type: number; readonly flags: number; readonly body: Buffer };

/** Cuts what arrives into frames; a frame may come in any number of pieces. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Frame[] {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const frames: Frame[] = [];
    while (this.#pending.length >= HEAD_BYTES) {
      const size = HEAD_BYTES + this.#pending.readUIntBE(5, 3);
      if (this.#pending.length < size) break;
      frames.push(parseFrame(this.#pending.subarray(0, size)));
      this.#pending = this.#pending.subarray(size);
    }
    return frames;
  }
}

function parseFrame(bytes: Buffer): Frame {
  const flags = bytes[4] ?? 0;
  const body = bytes.subarray(HEAD_BYTES);
  if ((bytes[0] ?? 0) < 0x80) {
    return {
      kind: 'data',
      stream: bytes.readUInt32BE(0) & STREAM_ID_MASK,
      fin: (flags & FLAG_FIN) !== 0,
      data: body,
    };
  }
  return { kind: 'control', type: bytes.readUInt16BE(2), flags, body };
}

export function dataFrame(stream: number, data: Uint8Array, fin: boolean): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32BE(stream, 0);
  head[4] = fin ? FLAG_FIN : 0;
  head.writeUIntBE(data.length, 5, 3);
  return Buffer.concat([head, data]);
}

function controlFrame(type: number, body: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt16BE(VERSION_BITS, 0);
  head.writeUInt16BE(type, 2);
  head.writeUIntBE(body.length, 5, 3);
  return Buffer.concat([head, body]);
}

/** Accepts a stream; `headers` is a compressed header block. */
export function synReply(stream: number, headers: Buffer): Buffer {
  const id = Buffer.alloc(4);
  id.writeUInt32BE(stream);
  return controlFrame(FRAME.synReply, Buffer.concat([id, headers]));
}

export function pingFrame(body: Buffer): Buffer {
  return controlFrame(FRAME.ping, body);
}

/** The stream that a SYN_STREAM opens, and its compressed headers, which follow ten bytes of ids and priority. */
export function parseSynStream(body: Buffer): { stream: number; headers: Buffer } {
  return { stream: body.readUInt32BE(0) & STREAM_ID_MASK, headers: body.subarray(10) };
}

/** Name and value pairs, each with its length in 32 bits. */
export function parseHeaders(block: Buffer): Map<string, string> {
  const headers = new Map<string, string>();
  let at = 4;
  const text = (): string => {
    const size = block.readUInt32BE(at);
    at += 4 + size;
    return block.subarray(at - size, at).toString('utf8');
  };
  for (let left = block.readUInt32BE(0); left > 0; left -= 1) {
    const name = text();
    headers.set(name, text());
  }
  return headers;
}
