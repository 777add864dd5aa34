import { chmodSync, mkdirSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { listenUnix } from '../kernel/netns/listen.ts';
import type { Logger } from '../log/logger.ts';
import { decodeCall, encodeReply, RECEIPT, type PluginCall } from './protocol/frame.ts';
import { errorReply } from './protocol/cni-error.ts';

export interface CniServerOptions {
  readonly socketPath: string;
  readonly handle: (call: PluginCall) => Promise<{ readonly exitCode: number; readonly stdout: string }>;
  readonly logger: Logger;
}

/** A plugin sends its whole request at once; one that stalls does not hold the connection for ever. */
const IDLE_MS = 10_000;
/** Whoever comes all the time does not keep calls from being worked on. */
const MAX_ROUNDS = 1000;

/** The unix socket that the plugin executable talks to; for root alone (0600). */
export class CniServer {
  readonly #options: CniServerOptions;
  readonly #server: Server;
  #lastTurn = Promise.resolve();
  /** Counts connections and what comes by them. */
  #arrivals = 0;

  private constructor(options: CniServerOptions) {
    this.#options = options;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#serve(socket));
  }

  /** Listens before it resolves; a socket file left by a killed agent is replaced. Closed when the signal aborts. */
  static async listen(options: CniServerOptions, signal: AbortSignal): Promise<CniServer> {
    const { socketPath } = options;
    mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
    const cni = new CniServer(options);
    const before = process.umask(0o177);
    let fd: number;
    try {
      fd = listenUnix(socketPath);
    } finally {
      process.umask(before);
    }
    chmodSync(socketPath, 0o600);
    await new Promise<void>((resolve, reject) => {
      cni.#server.once('error', reject);
      cni.#server.listen({ fd }, resolve);
    });
    cni.#server.on('error', (error) =>
      options.logger.error({ error: error.message }, 'a cni client could not be accepted'),
    );
    // The file stays: unlinking it could hit that of a successor, who replaces it anyway.
    signal.addEventListener('abort', () => cni.#server.close(), { once: true });
    return cni;
  }

  #serve(socket: Socket): void {
    const chunks: Buffer[] = [];
    this.#arrivals += 1;
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('error', (error) =>
      this.#options.logger.debug({ error: error.message }, 'cni client went away'),
    );
    const answer = (work: () => Promise<Buffer | undefined>): void => {
      socket.off('data', receive);
      socket.write(RECEIPT);
      // Read on and forget: a client that is cut off in the middle of its request would not read the reply.
      socket.resume();
      void this.#turn()
        .then(work)
        .catch((error: unknown) => encodeReply(1, errorReply(error, '1.0.0')))
        .then((reply) => {
          if (reply === undefined) return;
          socket.setTimeout(IDLE_MS);
          socket.end(reply);
        });
    };
    const receive = (chunk: Buffer): void => {
      this.#arrivals += 1;
      chunks.push(chunk);
      let call: PluginCall | undefined;
      try {
        call = decodeCall(Buffer.concat(chunks));
      } catch (error) {
        answer(() => Promise.reject(error));
        return;
      }
      if (call === undefined) return;
      const complete = call;
      // The kernel may take its time over many DELs at once; the plugin has a limit of its own.
      socket.setTimeout(0);
      // Whoever asked has given up, and asks again: what is made for them now would be in the way. The receipt told.
      const forNobody = (): boolean => socket.destroyed && complete.environment.get('CNI_COMMAND') === 'ADD';
      answer(async () => (forNobody() ? undefined : this.#reply(complete)));
    };
    socket.on('data', receive);
  }

  /**
   * Calls begin one after the other, and only when nobody else is at the door: what a call has to wait for in the
   * kernel holds up all, and a plugin that has no receipt looks whether anybody is at work here.
   */
  async #turn(): Promise<void> {
    const mine = this.#lastTurn.then(async () => this.#quietRound());
    this.#lastTurn = mine;
    await mine;
  }

  /** The event loop takes one connection in each round (libuv since 1.45), so many at once need many rounds. */
  async #quietRound(): Promise<void> {
    // What is due in this round already tells nothing of the next one.
    await endOfRound();
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const before = this.#arrivals;
      await endOfRound();
      if (this.#arrivals === before) return;
    }
  }

  async #reply(call: PluginCall): Promise<Buffer> {
    const { exitCode, stdout } = await this.#options.handle(call);
    return encodeReply(exitCode, stdout);
  }
}

const endOfRound = async (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });
