import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import type { DestinedUdp } from './destined.ts';
import type { FrontOptions } from './tcp-front.ts';
import { UdpSession } from './udp-session.ts';

/** Each has a socket; beyond that the oldest make room. */
const MOST_SESSIONS = 16_384;
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

export interface UdpFrontOptions extends FrontOptions {
  readonly destined: DestinedUdp;
  readonly idleMs: number;
}

/** A port of this process at which datagrams for service ports arrive. Answers leave from the address it is bound to. */
export class UdpFront {
  readonly #options: UdpFrontOptions;
  readonly #socket: Socket;
  /** By the client's address and port. */
  readonly #sessions = new Map<string, UdpSession>();
  #closed = false;
  #stopped = false;

  /** Takes over a bound descriptor. */
  constructor(fd: number, options: UdpFrontOptions) {
    this.#options = options;
    const type = options.family === 4 ? 'udp4' : 'udp6';
    const { family, logger } = options;
    this.#socket = createSocket({ type, lookup: (host, _options, done) => done(null, host, family) });
    this.#socket.on('error', (error) => logger.debug({ err: error }, 'UDP socket of the proxy'));
    this.#socket.on('message', (data, from) => this.#receive(data, from));
    this.#socket.bind({ fd });
    try {
      this.#socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
    } catch {
      // What net.core.rmem_max allows is what there is.
    }
  }

  /** Clients that talk to an endpoint. */
  get active(): number {
    return this.#sessions.size;
  }

  /** Takes nobody new; those that talk to an endpoint go on. */
  stop(): void {
    this.#stopped = true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const session of this.#sessions.values()) session.end();
    this.#socket.close();
  }

  #receive(data: Buffer, from: RemoteInfo): void {
    const key = `${from.address} ${from.port}`;
    const known = this.#sessions.get(key);
    if (known !== undefined) {
      known.send(data);
      return;
    }
    if (this.#stopped) return;
    try {
      this.#begin(key, from)?.send(data);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'a datagram could not be passed on');
    }
  }

  #begin(key: string, from: RemoteInfo): UdpSession | undefined {
    const { family, netns, idleMs, destined, isEntrance, changed } = this.#options;
    const destination = destined(from);
    if (destination === undefined) return undefined;
    const { served, set } = destination;
    const session: UdpSession = new UdpSession({
      family,
      set,
      balancer: served.balancer,
      client: from.address,
      idleMs,
      netns,
      isEntrance,
      answer: (data) => {
        if (!this.#closed) this.#socket.send(data, from.port, from.address);
      },
      ended: () => {
        served.sessions.delete(session);
        this.#sessions.delete(key);
        destination.ended();
        changed();
      },
    });
    if (!startOrEnd(session)) {
      destination.refuse();
      return undefined;
    }
    this.#makeRoom();
    served.sessions.add(session);
    this.#sessions.set(key, session);
    return session;
  }

  #makeRoom(): void {
    if (this.#sessions.size < MOST_SESSIONS) return;
    this.#sessions.values().next().value?.end();
  }
}

function startOrEnd(session: UdpSession): boolean {
  let isStarted = false;
  try {
    isStarted = session.start();
    return isStarted;
  } finally {
    if (!isStarted) session.end();
  }
}
