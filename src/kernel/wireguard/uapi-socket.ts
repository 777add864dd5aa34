import { performance } from 'node:perf_hooks';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import * as libc from '../libc/libc.ts';
import { timeval, unixAddress } from '../libc/structures.ts';

/** wireguard-go answers within milliseconds, also with thousands of peers. */
const TIMEOUT_MS = 1_000;
/**
 * So long an answer may take as a whole. After one that does not come, the others are not waited for: each call holds
 * up the whole process.
 */
const PATIENCE_MS = 5_000;

/** The unix socket of a running wireguard-go: one request and its answer at a time, each on a connection of its own. */
export class UapiSocket {
  readonly #path: string;
  #deafUntil = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined when nobody listens there. Throws WIREGUARD_GO_SILENT when somebody does and does not answer. */
  exchange(request: string, timeoutMs = TIMEOUT_MS): string | undefined {
    if (performance.now() < this.#deafUntil) throw this.#silent();
    const fd = libc.socket(libc.AF_UNIX, libc.SOCK_STREAM, 0);
    try {
      const timeout = timeval(timeoutMs);
      libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVTIMEO, timeout);
      libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDTIMEO, timeout);
      if (!this.#connect(fd)) return undefined;
      this.#send(fd, Buffer.from(request));
      return this.#receive(fd);
    } finally {
      libc.close(fd);
    }
  }

  /** False when nobody listens. */
  #connect(fd: number): boolean {
    try {
      libc.connect(fd, unixAddress(this.#path), `connect to ${this.#path}`);
      return true;
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') return false;
      if (error.code === 'EAGAIN') throw this.#fallSilent();
      throw error;
    }
  }

  #send(fd: number, data: Buffer): void {
    for (let at = 0; at < data.length;) {
      at += libc.send(fd, data.subarray(at), libc.MSG_NOSIGNAL, `write to ${this.#path}`);
    }
  }

  /** Up to the empty line that ends every answer. */
  #receive(fd: number): string {
    const chunks: string[] = [];
    const buffer = Buffer.allocUnsafe(64 * 1024);
    const until = performance.now() + PATIENCE_MS;
    for (let tail = ''; !tail.endsWith('\n\n');) {
      // Whatever is there instead may say a little now and then, without end.
      if (performance.now() > until) throw this.#fallSilent();
      const length = libc.recv(fd, buffer, 0, `read from ${this.#path}`);
      if (length === undefined) throw this.#fallSilent();
      if (length === 0) {
        throw new FlatnetError(`wireguard-go closed ${this.#path} before it had answered`, {
          code: 'ECONNRESET',
          retryable: true,
        });
      }
      const chunk = buffer.toString('latin1', 0, length);
      chunks.push(chunk);
      tail = tail.slice(-1) + chunk.slice(-2);
    }
    return chunks.join('');
  }

  #fallSilent(): FlatnetError {
    this.#deafUntil = performance.now() + PATIENCE_MS;
    return this.#silent();
  }

  #silent(): FlatnetError {
    return new FlatnetError(`wireguard-go does not answer on ${this.#path}`, {
      code: 'WIREGUARD_GO_SILENT',
      retryable: true,
      hint: 'it may be stopped or hang: end it, and the agent starts it anew',
    });
  }
}
