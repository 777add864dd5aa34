import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { once } from 'node:events';
import type { Logger } from '../log/logger.ts';
import { Ip } from '../net/ip.ts';
import { sleep } from '../timing/backoff.ts';
import { listenFailure, type ListenAddress } from './listen-address.ts';
import type { Resolver } from './resolver.ts';

const RESCAN_MS = 3000;
const RECEIVE_BUFFER = 1 << 21;

/**
 * Answers over UDP. Clients drop an answer that comes from another address than they asked, and a socket bound
 * to every address lets the routing table choose; so each address of the machine gets a socket of its own
 * (the kernel prefers the most specific one), new addresses soon after they appear. The unspecific socket stays
 * for what has none yet.
 */
export class UdpListener {
  readonly #resolver: Resolver;
  readonly #logger: Logger;
  readonly #sockets = new Map<string, Socket>();
  #timer: NodeJS.Timeout | undefined;
  #unanswered = 0;

  constructor(resolver: Resolver, logger: Logger) {
    this.#resolver = resolver;
    this.#logger = logger;
  }

  /** Binds; throws with the address and the reason. */
  async listen(address: ListenAddress): Promise<void> {
    if (address.ip !== undefined) {
      await this.#open(address.ip.toString(), address.ip.family, address.port, false).catch(
        (error: unknown) => {
          throw listenFailure('DNS over UDP', address, error);
        },
      );
      return;
    }
    await this.#openUnspecific(address);
    await this.#scan(address.port);
    this.#timer = setInterval(() => void this.#scan(address.port), RESCAN_MS);
    this.#timer.unref();
  }

  /** Takes no more questions; those in work are still answered until the process ends. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    for (let waited = 0; this.#unanswered > 0 && waited < 20; waited += 1) {
      await sleep(50);
    }
    await Promise.all([...this.#sockets.keys()].map(async (key) => this.#closeOne(key)));
  }

  async #openUnspecific(address: ListenAddress): Promise<void> {
    try {
      await this.#open('::', 6, address.port, true);
    } catch (error) {
      if (!isWithoutIpv6(error)) throw listenFailure('DNS over UDP', address, error);
    }
    await this.#open('0.0.0.0', 4, address.port, true).catch((error: unknown) => {
      throw listenFailure('DNS over UDP', address, error);
    });
  }

  async #scan(port: number): Promise<void> {
    const present = new Set(localAddresses().map((ip) => ip.toString()));
    for (const key of this.#sockets.keys()) {
      if (key !== '::' && key !== '0.0.0.0' && !present.has(key)) await this.#closeOne(key);
    }
    for (const ip of localAddresses()) {
      if (this.#sockets.has(ip.toString())) continue;
      await this.#open(ip.toString(), ip.family, port, true).catch((error: unknown) => {
        // An IPv6 address is not to be had while duplicate address detection runs; the next scan gets it.
        this.#logger.debug({ err: error, ip: ip.toString() }, 'address not bound yet');
      });
    }
  }

  // Sharing the port between our own sockets needs SO_REUSEADDR; that nobody else has it is known from TCP.
  async #open(host: string, family: 4 | 6, port: number, shared: boolean): Promise<void> {
    const socket = createSocket({
      type: family === 4 ? 'udp4' : 'udp6',
      ipv6Only: family === 6,
      reuseAddr: shared,
      recvBufferSize: RECEIVE_BUFFER,
      // Answers go to addresses, never to names: without this each waits a turn for the resolver.
      lookup: (host, _options, done) => done(null, host, family),
    });
    // Asked for first: with such a lookup the socket is bound before `bind` returns.
    const listening = once(socket, 'listening');
    socket.bind({ port, address: host, exclusive: true });
    await listening;
    socket.on('error', (error) => this.#logger.warn({ err: error, host }, 'UDP socket'));
    socket.on('message', (packet, from) => this.#take(socket, packet, from, family));
    this.#sockets.set(host, socket);
  }

  #take(socket: Socket, packet: Buffer, from: RemoteInfo, family: 4 | 6): void {
    const reply = this.#resolver.resolve(packet, { transport: 'udp', family });
    if (reply === undefined) return;
    if (Buffer.isBuffer(reply)) {
      this.#send(socket, reply, from);
      return;
    }
    this.#unanswered += 1;
    void reply.then((late) => {
      this.#unanswered -= 1;
      if (late !== undefined) this.#send(socket, late, from);
    });
  }

  #send(socket: Socket, reply: Buffer, to: RemoteInfo): void {
    try {
      socket.send(reply, to.port, to.address, (error) => {
        if (error !== null) this.#logger.debug({ err: error, to: to.address }, 'answer not sent');
      });
    } catch (error) {
      // Closed in the meantime, or a source port of 0, to which nothing can be sent.
      this.#logger.debug({ err: error, to: to.address }, 'answer not sent');
    }
  }

  async #closeOne(key: string): Promise<void> {
    const socket = this.#sockets.get(key);
    if (socket === undefined) return;
    this.#sockets.delete(key);
    await new Promise<void>((resolve) => socket.close(() => resolve()));
  }
}

/** The addresses of this machine, link-local ones (which mean nothing without a device) left out. */
export function localAddresses(): Ip[] {
  const infos = Object.values(networkInterfaces()).flat();
  return infos
    .map((info) => Ip.tryParse(info?.address ?? ''))
    .filter((ip) => ip !== undefined)
    .filter((ip) => ip.family === 4 || ip.value >> 118n !== 0b1111111010n);
}

/** The kernel was started without IPv6, or it is turned off. */
export function isWithoutIpv6(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL';
}
