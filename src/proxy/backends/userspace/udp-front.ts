import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import type { ConntrackKernel, Flow } from '../../../kernel/conntrack/objects.ts';
import type { Ip } from '../../../net/ip.ts';
import type { FrontOptions } from './tcp-front.ts';
import { UdpSession } from './udp-session.ts';

/** IANA's number. */
const UDP = 17;
/** Each has a socket; beyond that the oldest make room. */
const MOST_SESSIONS = 16_384;
const RECEIVE_BUFFER_BYTES = 1024 * 1024;

export interface UdpFrontOptions extends FrontOptions {
  /** Where the socket is bound: rules lead datagrams to just this address, so that answers leave from it. */
  readonly address: Ip;
  readonly port: number;
  readonly idleMs: number;
  readonly conntrack: ConntrackKernel;
  /** A session has ended. */
  readonly changed: () => void;
}

/**
 * A port of this process to which rules lead datagrams for all service ports. Where a client wanted to go stands in
 * connection tracking, under the tuple that answers have. Two service ports called from one port of a client are kept
 * apart by the kernel: it gives the second one another source port.
 */
export class UdpFront {
  readonly #options: UdpFrontOptions;
  readonly #socket: Socket;
  /** By the client's address and port. */
  readonly #sessions = new Map<string, UdpSession>();
  #retired = false;
  #closed = false;

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

  /** Another mode has taken over: each flow is given to it when its session ends. */
  retire(): void {
    this.#retired = true;
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
    try {
      this.#begin(key, from)?.send(data);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'a datagram could not be passed on');
    }
  }

  #begin(key: string, from: RemoteInfo): UdpSession | undefined {
    const { family, set, table, netns, idleMs, conntrack, changed } = this.#options;
    const flow = this.#flowOf(from);
    // Somebody who calls this port itself: a rule keeps others than the proxy's clients away from it.
    if (flow === undefined) return undefined;
    const { destination, destinationPort } = flow.original;
    const served = table.find('UDP', family, destination, destinationPort);
    if (served === undefined) {
      // The service port is gone, the flow would lead here as long as its client goes on: let the rules judge anew.
      conntrack.delete(flow);
      return undefined;
    }
    const session: UdpSession = new UdpSession({
      family,
      set,
      balancer: served.balancer,
      client: from.address,
      idleMs,
      netns,
      answer: (data) => {
        if (!this.#closed) this.#socket.send(data, from.port, from.address);
      },
      ended: () => {
        served.sessions.delete(session);
        this.#sessions.delete(key);
        if (this.#retired) conntrack.delete(flow);
        changed();
      },
    });
    if (!session.start()) {
      session.end();
      conntrack.delete(flow);
      return undefined;
    }
    this.#makeRoom();
    served.sessions.add(session);
    this.#sessions.set(key, session);
    return session;
  }

  #flowOf(from: RemoteInfo): Flow | undefined {
    const { family, address, port, conntrack } = this.#options;
    const destination = from.address.replace(/%.*$/, '');
    const reply = {
      source: address.toString(),
      sourcePort: port,
      destination,
      destinationPort: from.port,
    };
    return conntrack.findByReply({ family, protocol: UDP, reply });
  }

  #makeRoom(): void {
    if (this.#sessions.size < MOST_SESSIONS) return;
    this.#sessions.values().next().value?.end();
  }
}
