import { connect, type Socket } from 'node:net';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { RespDecoder, RespError, encodeCommand, type RespValue } from './resp.ts';

const TIMEOUT_MS = 2000;

interface Waiting {
  readonly resolve: (value: RespValue) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Commands to a Redis server over one connection, made when first needed and again after it broke: the name is
 * looked up anew each time, so that a store that moved is found. A hundred lines, where the client packages cost
 * every pod 30 ms and 15 MB.
 */
export class RedisClient {
  readonly #host: string;
  readonly #port: number;
  readonly #waiting: Waiting[] = [];
  #socket: Socket | undefined;

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
  }

  /** The reply; throws STORE_UNREACHABLE, STORE_SILENT or STORE_REFUSED with the server's own words. */
  async command(...args: string[]): Promise<RespValue> {
    this.#socket ??= this.#connect();
    const socket = this.#socket;
    const timer = setTimeout(() => {
      socket.destroy(this.#failure('STORE_SILENT', `no answer within ${TIMEOUT_MS} ms`));
    }, TIMEOUT_MS);
    try {
      const value = await new Promise<RespValue>((resolve, reject) => {
        this.#waiting.push({ resolve, reject });
        socket.write(encodeCommand(args));
      });
      if (value instanceof RespError) throw this.#failure('STORE_REFUSED', value.message);
      return value;
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.#socket?.end();
  }

  #connect(): Socket {
    const socket = connect({ host: this.#host, port: this.#port });
    const decoder = new RespDecoder();
    let reason: Error | undefined;
    socket.setNoDelay(true);
    socket.on('error', (error) => {
      reason = error;
    });
    socket.on('data', (chunk) => {
      try {
        for (const value of decoder.push(chunk)) this.#waiting.shift()?.resolve(value);
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = undefined;
      const error = this.#failure('STORE_UNREACHABLE', describe(reason));
      for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
    });
    return socket;
  }

  #failure(code: string, reason: string): FlatnetError {
    return new FlatnetError(`The store ${this.#host}:${this.#port} cannot be used: ${reason}`, {
      code,
      retryable: true,
    });
  }
}

function describe(reason: NodeJS.ErrnoException | undefined): string {
  if (reason instanceof FlatnetError) return reason.message.replace(/^.*cannot be used: /, '');
  switch (reason?.code) {
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'its name does not resolve';
    case 'ECONNREFUSED':
      return 'nobody listens there (no ready pod?)';
    default:
      return reason?.message ?? 'the connection was closed';
  }
}
