import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type RawData, WebSocket } from 'ws';
import { badRequest } from '../json/status-error.ts';
import { refusalOf } from './kubelet-refusal.ts';
import { SpdySession } from './spdy-session.ts';

// kubectl before 1.30 speaks SPDY/3.1 to the server, kubelets here speak WebSocket only. The channels are the same:
// a stream of SPDY is a channel number in front of each WebSocket message.

const CHANNELS = new Map([
  ['stdin', 0],
  ['stdout', 1],
  ['stderr', 2],
  ['error', 3],
  ['resize', 4],
]);
/** v5.channel.k8s.io: the message `255 CHANNEL` closes a channel. */
const CLOSE_CHANNEL = 255;
/** Both have Status objects on the error channel; v4 is the newest that every kubectl with SPDY knows. */
const SPDY_PROTOCOL = 'v4.channel.k8s.io';
const WEBSOCKET_PROTOCOL = 'v5.channel.k8s.io';
const MAX_WAITING_BYTES = 1024 * 1024;

export function isSpdyUpgrade(request: IncomingMessage): boolean {
  return request.headers.upgrade?.toLowerCase().startsWith('spdy/3.1') === true;
}

export interface KubeletSocketOptions {
  readonly url: string;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** Opens the kubelet's side; rejects with a StatusError where the kubelet refuses, else where it cannot be reached. */
export function openKubeletSocket(options: KubeletSocketOptions): Promise<WebSocket> {
  const { url, ca, cert, key } = options;
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, [WEBSOCKET_PROTOCOL], {
      ca,
      cert,
      key,
      // Handed to tls.connect, which wants undefined for a name that is fine; the typings of ws say boolean.
      checkServerIdentity: (() => undefined) as unknown as () => boolean,
      handshakeTimeout: 10_000,
      perMessageDeflate: false,
    });
    socket.once('open', () => {
      // Nothing the kubelet says may be lost before the streams are there.
      socket.pause();
      resolve(socket);
    });
    socket.once('unexpected-response', (_, answer) => void refusalOf(answer).then(reject, reject));
    socket.once('error', reject);
  });
}

/** Answers the client's upgrade and carries bytes both ways until either side ends. */
export async function bridgeExec(
  request: IncomingMessage,
  client: Duplex,
  head: Buffer,
  kubelet: WebSocket,
): Promise<void> {
  const offered = [request.headers['x-stream-protocol-version'] ?? []].flat().join(',');
  if (!offered.includes(SPDY_PROTOCOL)) {
    kubelet.terminate();
    throw badRequest(
      `unable to upgrade: none of the protocols "${offered}" is supported, only ${SPDY_PROTOCOL}`,
    );
  }
  client.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${SPDY_PROTOCOL}\r\n\r\n`,
  );
  await new ExecBridge(client, kubelet, wantedStreams(request)).run(head);
}

/** kubectl opens the error stream and one for each of these; output waits until all of them are there. */
function wantedStreams(request: IncomingMessage): number {
  const query = new URL(request.url ?? '/', 'https://kubernetes').searchParams;
  const asked = ['stdin', 'stdout', 'stderr', 'tty'].filter((name) =>
    ['true', '1'].includes(query.get(name) ?? ''),
  );
  const withoutStderr = asked.includes('tty') ? asked.filter((name) => name !== 'stderr') : asked;
  // A terminal has a resize stream where plain output has stderr.
  return 1 + withoutStderr.length;
}

class ExecBridge {
  readonly #client: Duplex;
  readonly #kubelet: WebSocket;
  readonly #session: SpdySession;
  readonly #wanted: number;
  readonly #channelOf = new Map<number, number>();
  readonly #streamOf = new Map<number, number>();

  constructor(client: Duplex, kubelet: WebSocket, wanted: number) {
    this.#client = client;
    this.#kubelet = kubelet;
    this.#wanted = wanted;
    this.#session = new SpdySession(client, {
      onStream: (stream, headers) => this.#opened(stream, headers.get('streamtype') ?? ''),
      onData: (stream, data, fin) => this.#fromClient(stream, data, fin),
      onClose: () => kubelet.terminate(),
    });
    kubelet.on('message', (message: RawData) => this.#fromKubelet(bytesOf(message)));
    kubelet.on('error', () => kubelet.terminate());
    kubelet.on('close', () => this.#finish());
    client.on('drain', () => this.#resumeOutput());
  }

  async run(head: Buffer): Promise<void> {
    try {
      await this.#session.run(head);
    } catch {
      // The client is gone in the middle of a frame: so is the command, by onClose.
      this.#client.destroy();
    }
  }

  #opened(stream: number, type: string): void {
    const channel = CHANNELS.get(type);
    if (channel === undefined) return;
    this.#channelOf.set(stream, channel);
    this.#streamOf.set(channel, stream);
    this.#resumeOutput();
  }

  #resumeOutput(): void {
    if (this.#streamOf.size >= this.#wanted) this.#kubelet.resume();
  }

  #fromClient(stream: number, data: Buffer, fin: boolean): void {
    const channel = this.#channelOf.get(stream);
    if (channel === undefined || this.#kubelet.readyState !== WebSocket.OPEN) return;
    if (data.length > 0) this.#kubelet.send(Buffer.concat([Uint8Array.of(channel), data]));
    if (fin && channel === 0) this.#kubelet.send(Uint8Array.of(CLOSE_CHANNEL, channel));
  }

  #fromKubelet(message: Buffer): void {
    const stream = this.#streamOf.get(message[0] ?? CLOSE_CHANNEL);
    if (stream === undefined) return;
    const room = this.#session.send(stream, message.subarray(1));
    if (!room && this.#client.writableLength > MAX_WAITING_BYTES) this.#kubelet.pause();
  }

  /** The command is over: every stream ends, and the client closes the connection. */
  #finish(): void {
    for (const stream of this.#channelOf.keys()) this.#session.send(stream, Buffer.alloc(0), true);
    this.#session.end();
  }
}

function bytesOf(message: RawData): Buffer {
  if (Buffer.isBuffer(message)) return message;
  return Array.isArray(message) ? Buffer.concat(message) : Buffer.from(message);
}
