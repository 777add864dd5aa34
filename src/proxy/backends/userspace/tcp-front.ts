import { once } from 'node:events';
import { createServer, Socket, type Server } from 'node:net';
import type { Logger } from '../../../log/logger.ts';
import { tcpSocket } from '../../../kernel/netns/listen.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ServiceEndpoint } from '../../services/service-port.ts';
import type { DestinedTcp } from './destined.ts';
import { dial, type Attempt, type Connect } from './dial.ts';
import { relay } from './relay.ts';

export interface FrontOptions {
  readonly family: IpFamily;
  readonly logger: Logger;
  /** Descriptor of the network namespace in which endpoints are called; the process's own when absent. */
  readonly netns?: number | undefined;
  /** Whether an endpoint is an address of a Service: who connects to it comes back here, without end. */
  readonly isEntrance: (endpoint: ServiceEndpoint) => boolean;
  /** A connection or session has ended. */
  readonly changed: () => void;
}

export interface TcpFrontOptions extends FrontOptions {
  readonly destined: DestinedTcp;
  /** For how long each attempt at an endpoint may last. */
  readonly timeoutsMs: readonly number[];
}

/** Errors of this node, not of an endpoint. */
const EXHAUSTED = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL']);
/** As Go's net package does, of which the original was made. */
const KEEP_ALIVE_MS = 15_000;

/** A port of this process at which TCP connections for service ports arrive. */
export class TcpFront {
  readonly #options: TcpFrontOptions;
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #connect: Connect<Socket>;

  private constructor(options: TcpFrontOptions) {
    this.#options = options;
    const connect = connectTcp(options.family, options.netns);
    this.#connect = async (endpoint, timeoutMs) =>
      options.isEntrance(endpoint)
        ? { kind: 'refused', error: new Error('the endpoint is an address of a Service') }
        : await connect(endpoint, timeoutMs);
    this.#server = createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS },
      (client) => void this.#serve(client),
    );
  }

  /** Takes over a descriptor that listens. */
  static async open(fd: number, options: TcpFrontOptions): Promise<TcpFront> {
    const front = new TcpFront(options);
    front.#server.listen({ fd });
    await once(front.#server, 'listening');
    front.#server.on('error', (error) =>
      options.logger.error({ err: error }, 'the proxy cannot accept connections'),
    );
    return front;
  }

  /** Established connections. */
  get active(): number {
    return this.#clients.size;
  }

  /** Listens no more; established connections go on. */
  stop(): void {
    if (this.#server.listening) this.#server.close();
  }

  /** Ends everything. */
  close(): void {
    this.stop();
    for (const client of this.#clients) client.destroy();
  }

  async #serve(client: Socket): Promise<void> {
    const { destined, timeoutsMs, changed, logger } = this.#options;
    this.#clients.add(client);
    client.once('close', () => {
      this.#clients.delete(client);
      changed();
    });
    // While the endpoint is being called nobody else listens; a client that gives up is seen below.
    client.on('error', ignore);
    try {
      const destination = destined(client);
      const { remoteAddress } = client;
      // Also who calls a port itself to which only rules lead.
      if (destination === undefined || remoteAddress === undefined) {
        client.resetAndDestroy();
        return;
      }
      const { served, set } = destination;
      const { balancer } = served;
      const result = await dial({ balancer, client: remoteAddress, set }, timeoutsMs, this.#connect);
      const { connection: server, failed, error } = result;
      if (failed.length > 0) {
        const service = balancer.port.id;
        logger.debug({ service, failed, err: error }, `${service}: ${failed.join(', ')} took no connection`);
      }
      if (server === undefined || client.destroyed) {
        server?.resetAndDestroy();
        client.resetAndDestroy();
        return;
      }
      client.off('error', ignore);
      relay(client, server);
    } catch (error) {
      logger.error({ err: error }, 'a connection could not be served');
      client.resetAndDestroy();
    }
  }
}

function ignore(): void {}

function connectTcp(family: IpFamily, netns: number | undefined): Connect<Socket> {
  return async ({ address, port }, timeoutMs) =>
    await new Promise<Attempt<Socket>>((resolve) => {
      const options = { host: address, port, family, noDelay: true, keepAlive: true };
      let socket: Socket;
      try {
        socket = new Socket({
          allowHalfOpen: true,
          ...(netns === undefined ? {} : { fd: tcpSocket(family, netns) }),
        });
      } catch (error) {
        resolve({ kind: 'exhausted', error: error as Error });
        return;
      }
      let isSettled = false;
      const settle = (attempt: Attempt<Socket>): void => {
        if (isSettled) return;
        isSettled = true;
        clearTimeout(timer);
        socket.off('error', failed);
        if (attempt.kind !== 'connected') {
          socket.on('error', ignore);
          socket.destroy();
        }
        resolve(attempt);
      };
      const failed = (error: NodeJS.ErrnoException): void =>
        settle({ kind: EXHAUSTED.has(error.code ?? '') ? 'exhausted' : 'refused', error });
      // A process that was held up sees its timers before what the network brought meanwhile: that is looked at first.
      const timer = setTimeout(() => setImmediate(() => settle({ kind: 'silent' })), timeoutMs);
      socket.once('error', failed);
      socket.connect({ ...options, keepAliveInitialDelay: KEEP_ALIVE_MS }, () =>
        settle({ kind: 'connected', connection: socket }),
      );
    });
}
