import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import type { Logger } from '../log/logger.ts';
import { listenFailure, type ListenAddress } from './listen-address.ts';
import type { Resolver } from './resolver.ts';
import { StreamFrames, frame } from './stream-frames.ts';
import { isWithoutIpv6 } from './udp-listener.ts';

/** RFC 7766 section 6.2.3 asks for seconds; CoreDNS too closes after 10. */
const IDLE_MS = 10_000;
const MAX_CONNECTIONS = 2000;
/** Answers that a client does not fetch are not piled up. */
const MAX_UNSENT = 1 << 20;

/** Answers over TCP, many questions a connection (RFC 7766). */
export class TcpListener {
  readonly #resolver: Resolver;
  readonly #logger: Logger;
  readonly #connections = new Set<Socket>();
  #server: Server | undefined;

  constructor(resolver: Resolver, logger: Logger) {
    this.#resolver = resolver;
    this.#logger = logger;
  }

  /** Binds; throws with the address and the reason. Returns the port, which port 0 leaves to the kernel. */
  async listen(address: ListenAddress): Promise<number> {
    try {
      return await this.#open(address.ip?.toString() ?? '::', address.port);
    } catch (error) {
      if (address.ip !== undefined || !isWithoutIpv6(error)) {
        throw listenFailure('DNS over TCP', address, error);
      }
    }
    return this.#open('0.0.0.0', address.port).catch((error: unknown) => {
      throw listenFailure('DNS over TCP', address, error);
    });
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    for (const connection of this.#connections) connection.end();
    const closed = once(server, 'close');
    server.close();
    const force = setTimeout(() => {
      for (const connection of this.#connections) connection.destroy();
    }, 500);
    await closed;
    clearTimeout(force);
  }

  async #open(host: string, port: number): Promise<number> {
    const server = createServer((socket) => this.#serve(socket));
    server.maxConnections = MAX_CONNECTIONS;
    server.listen({ host, port, exclusive: true });
    await once(server, 'listening');
    server.on('error', (error) => this.#logger.warn({ err: error }, 'TCP listener'));
    this.#server = server;
    const bound = server.address();
    return bound !== null && typeof bound === 'object' ? bound.port : port;
  }

  #serve(socket: Socket): void {
    const frames = new StreamFrames();
    const family = Number(socket.remoteFamily?.slice(-1)) === 6 ? 6 : 4;
    this.#connections.add(socket);
    socket.setNoDelay(true);
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('close', () => this.#connections.delete(socket));
    socket.on('error', (error) => this.#logger.debug({ err: error }, 'TCP connection'));
    socket.on('data', (chunk) => {
      for (const packet of frames.push(chunk)) this.#take(socket, packet, family);
    });
  }

  #take(socket: Socket, packet: Buffer, family: 4 | 6): void {
    const reply = this.#resolver.resolve(packet, { transport: 'tcp', family });
    if (reply === undefined) {
      socket.destroy();
      return;
    }
    if (Buffer.isBuffer(reply)) this.#send(socket, reply);
    else void reply.then((late) => (late === undefined ? undefined : this.#send(socket, late)));
  }

  #send(socket: Socket, reply: Buffer): void {
    if (socket.destroyed || !socket.writable) return;
    socket.write(frame(reply));
    if (socket.writableLength > MAX_UNSENT) socket.destroy();
  }
}
