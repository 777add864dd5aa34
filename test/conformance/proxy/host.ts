import dgram from 'node:dgram';
import net from 'node:net';
import { bindUdp, listenTcp, tcpSocket } from '../../../src/kernel/netns/listen.ts';
import { createNetns, deleteNetns, Netns } from '../../../src/kernel/netns/netns.ts';
import { Ip } from '../../../src/net/ip.ts';
import type { Protocol } from '../../../src/proxy/services/service-spec.ts';
import { INSIDE_UML } from '../../uml/uml.ts';
import { SctpPeer } from './sctp-peer.ts';

/** What a caller gets: who answered, and what that one saw. */
export interface CallResult {
  readonly reply?: { readonly host: string; readonly port: number; readonly source: string };
  /** `ECONNREFUSED`, `ETIMEDOUT` … when nobody answered. */
  readonly error?: string;
  readonly ms: number;
}

export interface CallOptions {
  readonly protocol?: Protocol;
  /** One of the caller's addresses; default: what the route says. */
  readonly localAddress?: string;
  /** UDP: the same socket, thus the same flow, for all calls from this port, as a resolver has it. */
  readonly localPort?: number;
  readonly timeoutMs?: number;
}

type Answer = Omit<CallResult, 'ms'>;

/** Of RFC 862, but with its name in front. */
const ECHO_PORT = 7;

/** Beside the node ports. */
const FIRST_OWN_PORT = 33_000;
const LAST_OWN_PORT = 60_999;

/** A network namespace whose programs answer and call; they all live in this process. */
export class Host {
  readonly name: string;
  readonly namespace: string;
  readonly netns: Netns;
  readonly #closers: (() => void)[] = [];
  readonly #udpFlows = new Map<string, Promise<dgram.Socket>>();
  #sctp: SctpPeer | undefined;
  #ownPort = FIRST_OWN_PORT;

  constructor(prefix: string, name: string) {
    this.name = name;
    this.namespace = `${prefix}-${name}`;
    deleteNetns(this.namespace);
    createNetns(this.namespace);
    this.netns = Netns.named(this.namespace);
  }

  /** Answers on these ports in all protocols and both families. */
  async listen(ports: readonly number[]): Promise<void> {
    for (const port of ports) this.#listenUdp(port);
    await Promise.all(ports.map(async (port) => this.#listenTcp(port)));
    this.#sctp = new SctpPeer(this.netns.fd, this.name, new Set(ports));
    this.#closers.push(() => this.#sctp?.close());
  }

  async call(host: string, port: number, options: CallOptions = {}): Promise<CallResult> {
    const { protocol = 'TCP', timeoutMs = 5000 } = options;
    const started = performance.now();
    const control = new AbortController();
    const timer = setTimeout(() => control.abort(), timeoutMs);
    const answer = await this.#ask(protocol, host, port, options, control.signal);
    clearTimeout(timer);
    return { ...answer, ms: performance.now() - started };
  }

  /** A TCP connection that stays open, to an echo port. */
  hold(host: string, port: number): HeldConnection {
    const held = new HeldConnection(this.#connect(host, port));
    this.#closers.push(() => held.close());
    return held;
  }

  stop(): void {
    for (const close of this.#closers) close();
    this.netns.close();
    deleteNetns(this.namespace);
  }

  async #ask(
    protocol: Protocol,
    host: string,
    port: number,
    options: CallOptions,
    signal: AbortSignal,
  ): Promise<Answer> {
    if (protocol === 'TCP') return await this.#callTcp(host, port, options, signal);
    if (protocol === 'UDP') return await this.#callUdp(host, port, options, signal);
    this.#sctp ??= new SctpPeer(this.netns.fd, this.name, new Set());
    return await this.#sctp.call(host, port, signal);
  }

  async #listenTcp(port: number): Promise<void> {
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      if (port === ECHO_PORT) socket.on('data', (data) => socket.write(`${this.name} ${data.toString()}`));
      else socket.end(this.#answer(port, socket.remoteAddress ?? ''));
    });
    const fd = listenTcp(Ip.parse('::'), port, { netns: this.netns.fd, dualStack: true, backlog: 4096 });
    await new Promise<void>((resolve) => server.listen({ fd }, resolve));
    this.#closers.push(() => server.close());
  }

  #listenUdp(port: number): void {
    const socket = dgram.createSocket({ type: 'udp6' });
    socket.on('message', (_, from) =>
      socket.send(this.#answer(port, from.address), from.port, from.address, () => {}),
    );
    socket.bind({ fd: bindUdp(Ip.parse('::'), port, { netns: this.netns.fd, dualStack: true }) });
    this.#closers.push(() => socket.close());
  }

  #answer(port: number, source: string): string {
    return `${this.name} ${port} ${source.replace(/^::ffff:/, '')}`;
  }

  #connect(host: string, port: number, localAddress?: string): net.Socket {
    const { family } = Ip.parse(host);
    const fd = tcpSocket(family, this.netns.fd);
    const options = { fd, readable: true, writable: true, pauseOnCreate: true };
    const socket = new net.Socket(options);
    socket.once('connect', () => socket.resume());
    const localPort = this.#unusedPort();
    socket.connect({
      host,
      port,
      family,
      localPort,
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    return socket;
  }

  /**
   * A local port that nothing has called from; 0, any, where it does not matter. IPVS knows an answer by client and real
   * server alone: of two flows from one port, by two addresses, to one endpoint the first is never answered.
   */
  #unusedPort(): number {
    if (!INSIDE_UML) return 0;
    this.#ownPort = this.#ownPort === LAST_OWN_PORT ? FIRST_OWN_PORT : this.#ownPort + 1;
    return this.#ownPort;
  }

  async #callTcp(host: string, port: number, options: CallOptions, signal: AbortSignal): Promise<Answer> {
    const socket = this.#connect(host, port, options.localAddress);
    return await new Promise((resolve) => {
      let text = '';
      const done = (answer: Answer): void => {
        signal.removeEventListener('abort', late);
        // With a reset: thousands of connections of one masqueraded address would else meet the ports that wait for
        // the end of earlier ones (TIME-WAIT) at the endpoint.
        if (answer.error === undefined) socket.resetAndDestroy();
        else socket.destroy();
        resolve(answer);
      };
      const late = (): void => done({ error: 'ETIMEDOUT' });
      signal.addEventListener('abort', late);
      socket.on('data', (data) => (text += data.toString()));
      socket.on('end', () => done(readAnswer(text)));
      socket.on('error', (error: NodeJS.ErrnoException) => done({ error: error.code ?? error.message }));
    });
  }

  async #callUdp(host: string, port: number, options: CallOptions, signal: AbortSignal): Promise<Answer> {
    const flow = options.localPort === undefined ? undefined : `${options.localPort} ${host} ${port}`;
    let opening = flow === undefined ? undefined : this.#udpFlows.get(flow);
    opening ??= this.#udpSocket(host, port, options);
    if (flow !== undefined) this.#udpFlows.set(flow, opening);
    const socket = await opening;
    return await new Promise((resolve) => {
      const done = (answer: Answer): void => {
        signal.removeEventListener('abort', late);
        socket.removeAllListeners('message').removeAllListeners('error');
        if (flow === undefined) socket.close();
        else socket.on('error', () => {});
        resolve(answer);
      };
      const late = (): void => done({ error: 'ETIMEDOUT' });
      const failed = (error: NodeJS.ErrnoException): void => done({ error: error.code ?? error.message });
      signal.addEventListener('abort', late);
      socket.removeAllListeners('error');
      socket.on('message', (data) => done(readAnswer(data.toString())));
      socket.on('error', failed);
      socket.send('hello', (error) => error && failed(error));
    });
  }

  /** A connected socket: only such a one is told of ICMP errors. */
  async #udpSocket(host: string, port: number, options: CallOptions) {
    const { localPort, localAddress } = options;
    const { family } = Ip.parse(host);
    const any = family === 4 ? '0.0.0.0' : '::';
    const socket = dgram.createSocket({ type: family === 4 ? 'udp4' : 'udp6' });
    const fd = bindUdp(Ip.parse(localAddress ?? any), localPort ?? this.#unusedPort(), {
      netns: this.netns.fd,
    });
    socket.bind({ fd });
    await new Promise<void>((resolve) => socket.connect(port, host, () => resolve()));
    if (localPort !== undefined) this.#closers.push(() => socket.close());
    return socket;
  }
}

/** Says something on one connection again and again. */
export class HeldConnection {
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('error', () => {});
  }

  /** Name of the host at the other end, or what went wrong. */
  async ask(timeoutMs = 2000): Promise<string> {
    const socket = this.#socket;
    if (socket.destroyed) return 'closed';
    return await new Promise((resolve) => {
      const onData = (data: Buffer): void => done(data.toString().split(' ')[0] ?? '');
      const onClose = (): void => done('closed');
      const timer = setTimeout(() => done('ETIMEDOUT'), timeoutMs);
      const done = (result: string): void => {
        clearTimeout(timer);
        socket.off('data', onData).off('close', onClose);
        resolve(result);
      };
      socket.on('data', onData).on('close', onClose);
      socket.write('hello');
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

function readAnswer(text: string): Answer {
  const [host = '', port = '', source = ''] = text.split(' ');
  // A connection that is accepted and closed without a word.
  if (host === '') return { error: 'EMPTY' };
  return { reply: { host, port: Number(port), source } };
}
