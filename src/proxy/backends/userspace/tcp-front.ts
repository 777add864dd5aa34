import { once } from 'node:events';
import { createServer, Socket, type Server } from 'node:net';
import type { Logger } from '../../../log/logger.ts';
import { tcpSocket } from '../../../kernel/netns/listen.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { EndpointSet } from './balancer.ts';
import { dial, type Attempt, type Connect } from './dial.ts';
import { originalDestination } from './original-destination.ts';
import { relay } from './relay.ts';
import type { ServiceTable } from './service-table.ts';

export interface FrontOptions {
  readonly family: IpFamily;
  /** From which endpoints connections that arrive here get theirs. */
  readonly set: EndpointSet;
  readonly table: ServiceTable;
  readonly logger: Logger;
  /** Descriptor of the network namespace in which endpoints are called; the process's own when absent. */
  readonly netns?: number | undefined;
}

/** Errors of this node, not of an endpoint. */
const EXHAUSTED = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL']);
/** As Go's net package does, of which the original was made. */
const KEEP_ALIVE_MS = 15_000;

/** A port of this process to which rules lead TCP connections for all service ports. */
export class TcpFront {
  readonly #options: FrontOptions;
  readonly #timeoutsMs: readonly number[];
  readonly #server: Server;
  readonly #clients = new Set<Socket>();
  readonly #connect: Connect<Socket>;
  #changed: () => void = () => {};

  private constructor(options: FrontOptions, timeoutsMs: readonly number[]) {
    this.#options = options;
    this.#timeoutsMs = timeoutsMs;
    this.#connect = connectTcp(options.family, options.netns);
    this.#server = createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS },
      (client) => void this.#serve(client),
    );
  }

  /** Takes over a descriptor that listens. */
  static async open(
    fd: number,
    options: FrontOptions,
    timeoutsMs: readonly number[],
    changed: () => void,
  ): Promise<TcpFront> {
    const front = new TcpFront(options, timeoutsMs);
    front.#changed = changed;
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
    const { family, set, table, logger } = this.#options;
    this.#clients.add(client);
    client.once('close', () => {
      this.#clients.delete(client);
      this.#changed();
    });
    // While the endpoint is being called nobody else listens; a client that gives up is seen below.
    client.on('error', ignore);
    try {
      const destination = originalDestination(client, family);
      const { remoteAddress } = client;
      const served =
        destination === undefined
          ? undefined
          : table.find('TCP', family, destination.address, destination.port);
      // Also who calls this port itself, as no rule led him here.
      if (served === undefined || remoteAddress === undefined) {
        client.resetAndDestroy();
        return;
      }
      const { balancer } = served;
      const result = await dial({ balancer, client: remoteAddress, set }, this.#timeoutsMs, this.#connect);
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
      const settle = (attempt: Attempt<Socket>): void => {
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
      const timer = setTimeout(() => settle({ kind: 'silent' }), timeoutMs);
      socket.once('error', failed);
      socket.connect({ ...options, keepAliveInitialDelay: KEEP_ALIVE_MS }, () =>
        settle({ kind: 'connected', connection: socket }),
      );
    });
}
