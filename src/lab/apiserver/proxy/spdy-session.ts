import type { Duplex } from 'node:stream';
import { constants, createDeflate, createInflate } from 'node:zlib';
import { SPDY_DICTIONARY } from './spdy-dictionary.ts';
import {
  dataFrame,
  FLAG_FIN,
  FRAME,
  type Frame,
  FrameReader,
  parseHeaders,
  parseSynStream,
  pingFrame,
  synReply,
} from './spdy-frames.ts';

export interface SpdyHandlers {
  /** A stream the client opened, and what its headers say. */
  readonly onStream: (stream: number, headers: ReadonlyMap<string, string>) => void;
  readonly onData: (stream: number, data: Buffer, fin: boolean) => void;
  readonly onClose: () => void;
}

/** Either half of zlib with the SPDY dictionary; one context for the whole session. */
class HeaderCodec {
  readonly #zlib: ReturnType<typeof createDeflate> | ReturnType<typeof createInflate>;
  #chunks: Buffer[] = [];

  constructor(zlib: ReturnType<typeof createDeflate> | ReturnType<typeof createInflate>) {
    this.#zlib = zlib;
    zlib.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
  }

  /** The other form of one header block, complete thanks to the sync flush. */
  convert(block: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#zlib.once('error', reject);
      this.#zlib.write(block);
      this.#zlib.flush(constants.Z_SYNC_FLUSH, () => {
        this.#zlib.off('error', reject);
        const all = Buffer.concat(this.#chunks);
        this.#chunks = [];
        resolve(all);
      });
    });
  }
}

/** The server's side of a SPDY/3.1 connection: accepts every stream, hands data on. Flow control is not used by kubectl. */
export class SpdySession {
  readonly #socket: Duplex;
  readonly #handlers: SpdyHandlers;
  readonly #reader = new FrameReader();
  readonly #inflate = new HeaderCodec(
    createInflate({ dictionary: SPDY_DICTIONARY, finishFlush: constants.Z_SYNC_FLUSH }),
  );
  readonly #deflate = new HeaderCodec(createDeflate({ dictionary: SPDY_DICTIONARY }));

  constructor(socket: Duplex, handlers: SpdyHandlers) {
    this.#socket = socket;
    this.#handlers = handlers;
  }

  /** Reads until the connection ends. Frames are handled one after the other: headers share a zlib context. */
  async run(head: Buffer): Promise<void> {
    try {
      for (const frame of this.#reader.push(head)) await this.#handle(frame);
      for await (const chunk of this.#socket as AsyncIterable<Buffer>) {
        for (const frame of this.#reader.push(chunk)) await this.#handle(frame);
      }
    } finally {
      this.#handlers.onClose();
    }
  }

  async #handle(frame: Frame): Promise<void> {
    if (frame.kind === 'data') {
      this.#handlers.onData(frame.stream, frame.data, frame.fin);
      return;
    }
    if (frame.type === FRAME.ping) this.#socket.write(pingFrame(frame.body));
    if (frame.type === FRAME.goAway) this.#socket.end();
    if (frame.type !== FRAME.synStream) return;
    const { stream, headers } = parseSynStream(frame.body);
    const named = parseHeaders(await this.#inflate.convert(headers));
    // No headers of its own: a count of zero.
    this.#socket.write(synReply(stream, await this.#deflate.convert(Buffer.alloc(4))));
    this.#handlers.onStream(stream, named);
    if ((frame.flags & FLAG_FIN) !== 0) this.#handlers.onData(stream, Buffer.alloc(0), true);
  }

  /** False when the client reads too slowly and more should wait. */
  send(stream: number, data: Uint8Array, fin = false): boolean {
    return this.#socket.writable && this.#socket.write(dataFrame(stream, data, fin));
  }

  /** Ends after everything sent has gone out. */
  end(): void {
    this.#socket.end();
  }
}
