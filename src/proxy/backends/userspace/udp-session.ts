import { createSocket, type Socket } from 'node:dgram';
import { bindUdp } from '../../../kernel/netns/listen.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { ServiceEndpoint } from '../../services/service-port.ts';
import { endpointText } from '../../services/endpoint-text.ts';
import type { Balancer, EndpointSet } from './balancer.ts';

export interface SessionOptions {
  readonly family: IpFamily;
  readonly set: EndpointSet;
  readonly balancer: Balancer;
  readonly client: string;
  readonly idleMs: number;
  readonly netns: number | undefined;
  readonly isEntrance: (endpoint: ServiceEndpoint) => boolean;
  /** Passes an answer to the client. */
  readonly answer: (data: Buffer) => void;
  /** Called once. */
  readonly ended: () => void;
}

/**
 * How long an answer is waited for: an endpoint may think for longer than `udpIdleTimeout`. The original did not, and
 * lost what came later.
 */
const ANSWER_TIMEOUT_MS = 10_000;
/** What is kept to say it again to another endpoint, should the first one refuse. */
const KEPT_DATAGRAMS = 8;

const ANY = { 4: Ip.parse('0.0.0.0'), 6: Ip.parse('::') } as const;

/** What one client, from one of its ports, has to do with one endpoint. */
export class UdpSession {
  readonly set: EndpointSet;
  readonly #options: SessionOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #refused = new Set<string>();
  #endpoint = '';
  #socket: Socket | undefined;
  #connected = false;
  #ended = false;
  /** Sent since the client began, as long as no answer came. */
  #unanswered: Buffer[] = [];
  #answered = false;
  #lastSentMs = 0;
  #lastAnswerMs = -Infinity;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.set = options.set;
    this.#timer = setInterval(() => this.#endIfIdle(), options.idleMs);
    this.#timer.unref();
  }

  /** Empty: there is none to talk to. */
  get endpoint(): string {
    return this.#endpoint;
  }

  /** Takes an endpoint; false when there is none. */
  start(): boolean {
    const { balancer, client, isEntrance } = this.#options;
    for (;;) {
      const endpoint = balancer.next(client, this.set, this.#refused);
      if (endpoint === undefined) return false;
      if (!isEntrance(endpoint)) {
        this.#open(endpoint);
        return true;
      }
      this.#refused.add(endpointText(endpoint.address, endpoint.port));
    }
  }

  send(data: Buffer): void {
    if (this.#ended) return;
    this.#lastSentMs = performance.now();
    if (!this.#answered && this.#unanswered.length < KEPT_DATAGRAMS) this.#unanswered.push(data);
    // What is kept is sent when the socket is ready.
    if (this.#connected) this.#socket?.send(data);
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearInterval(this.#timer);
    this.#closeSocket();
    this.#unanswered = [];
    this.#options.ended();
  }

  #open({ address, port }: ServiceEndpoint): void {
    const { family, netns, answer } = this.#options;
    this.#endpoint = endpointText(address, port);
    const type = family === 4 ? 'udp4' : 'udp6';
    // The endpoint is an address: nothing is to be looked up.
    const socket = createSocket({ type, lookup: (host, _options, done) => done(null, host, family) });
    this.#socket = socket;
    this.#connected = false;
    socket.on('error', (error) => this.#failed(socket, error));
    socket.on('message', (data) => {
      this.#lastAnswerMs = performance.now();
      if (!this.#answered) {
        this.#answered = true;
        this.#unanswered = [];
      }
      answer(data);
    });
    if (netns !== undefined) socket.bind({ fd: bindUdp(ANY[family], 0, { netns }) });
    // Connected, so that the kernel tells when nobody listens there.
    socket.connect(port, address, () => {
      if (this.#socket !== socket) return;
      this.#connected = true;
      for (const data of this.#unanswered) socket.send(data);
    });
  }

  #failed(socket: Socket, _error: Error): void {
    if (this.#ended || this.#socket !== socket) return;
    this.#closeSocket();
    this.#refused.add(this.#endpoint);
    // One that did answer and is gone: the client's next datagram begins anew.
    if (this.#answered || !this.start()) this.end();
  }

  #closeSocket(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket === undefined) return;
    try {
      socket.close();
    } catch {
      // Closed already.
    }
  }

  #endIfIdle(): void {
    const now = performance.now();
    const awaited = this.#lastAnswerMs < this.#lastSentMs;
    const idleMs = awaited ? Math.max(ANSWER_TIMEOUT_MS, this.#options.idleMs) : this.#options.idleMs;
    if (now - Math.max(this.#lastSentMs, this.#lastAnswerMs) >= idleMs) this.end();
  }
}
