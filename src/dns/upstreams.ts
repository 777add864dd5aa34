import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { FlatnetError, describeError } from '../errors/flatnet-error.ts';
import { HEADER_LENGTH, decodeQuestion } from './query-codec.ts';
import type { UpstreamServer } from './resolv-conf.ts';
import type { Transport } from './response-codec.ts';
import { StreamFrames, frame } from './stream-frames.ts';

const AVAILABLE_MS = 1000;

export interface UpstreamsOptions {
  /** For one server to answer, milliseconds. */
  readonly timeoutMs?: number;
  /** Questions that wait for an answer at the same time; more are refused. */
  readonly maxInFlight?: number;
  /** Whether a server is this one itself: asking it would go round for ever. */
  readonly isOwn?: (server: UpstreamServer) => boolean;
  readonly onAnswer?: (server: UpstreamServer, seconds: number, rcode: number) => void;
}

/**
 * The name servers for everything outside the cluster. The one that answered last is asked first; each question
 * leaves from a port and with an id of its own (RFC 5452). The same question asked twice at once is sent once.
 */
export class Upstreams {
  readonly #servers: readonly UpstreamServer[];
  readonly #timeoutMs: number;
  readonly #maxInFlight: number;
  readonly #isOwn: (server: UpstreamServer) => boolean;
  readonly #onAnswer: UpstreamsOptions['onAnswer'];
  readonly #inFlight = new Map<string, Promise<Buffer>>();
  #preferred = 0;
  #available = { value: false, until: 0 };

  constructor(servers: readonly UpstreamServer[], options: UpstreamsOptions = {}) {
    this.#servers = servers;
    this.#timeoutMs = options.timeoutMs ?? 2000;
    this.#maxInFlight = options.maxInFlight ?? 1000;
    this.#isOwn = options.isOwn ?? (() => false);
    this.#onAnswer = options.onAnswer;
  }

  /** Whether there is anybody to ask; looked at anew every second, as every answer says it (flag RA). */
  get available(): boolean {
    const now = performance.now();
    if (now >= this.#available.until) {
      const value = this.#servers.some((server) => !this.#isOwn(server));
      this.#available = { value, until: now + AVAILABLE_MS };
    }
    return this.#available.value;
  }

  /** The answer to a query packet, with its id. Throws NO_UPSTREAM, UPSTREAM_BUSY or UPSTREAM_FAILED. */
  async ask(packet: Buffer, transport: Transport): Promise<Buffer> {
    const key = `${transport}${packet.toString('latin1', 2)}`;
    const answer = await (this.#inFlight.get(key) ?? this.#begin(key, packet, transport));
    const own = Buffer.from(answer);
    own.writeUInt16BE(packet.readUInt16BE(0), 0);
    return own;
  }

  async #begin(key: string, packet: Buffer, transport: Transport): Promise<Buffer> {
    if (this.#inFlight.size >= this.#maxInFlight) {
      throw new FlatnetError('too many questions wait for the upstream servers', { code: 'UPSTREAM_BUSY' });
    }
    const asking = this.#askInTurn(packet, transport);
    this.#inFlight.set(key, asking);
    try {
      return await asking;
    } finally {
      this.#inFlight.delete(key);
    }
  }

  async #askInTurn(packet: Buffer, transport: Transport): Promise<Buffer> {
    const failures: string[] = [];
    for (let turn = 0; turn < this.#servers.length; turn += 1) {
      const index = (this.#preferred + turn) % this.#servers.length;
      const server = this.#servers[index];
      if (server === undefined || this.#isOwn(server)) continue;
      try {
        const answer = await this.#askOne(server, packet, transport);
        this.#preferred = index;
        return answer;
      } catch (error) {
        failures.push(`${server.ip.toString()}: ${describeError(error)}`);
      }
    }
    if (failures.length === 0) {
      throw new FlatnetError('there is no upstream name server', { code: 'NO_UPSTREAM' });
    }
    throw new FlatnetError(`no upstream name server answered (${failures.join('; ')})`, {
      code: 'UPSTREAM_FAILED',
      retryable: true,
    });
  }

  async #askOne(server: UpstreamServer, packet: Buffer, transport: Transport): Promise<Buffer> {
    const started = performance.now();
    const query = Buffer.from(packet);
    query.writeUInt16BE(randomInt(0x10000), 0);
    const send = transport === 'tcp' ? askTcp : askUdp;
    const answer = await send(server, query, this.#timeoutMs);
    this.#onAnswer?.(server, (performance.now() - started) / 1000, (answer[3] ?? 0) & 0x0f);
    return answer;
  }
}

async function askUdp(server: UpstreamServer, query: Buffer, timeoutMs: number): Promise<Buffer> {
  const socket = createSocket(server.ip.family === 4 ? 'udp4' : 'udp6');
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const timer = setTimeout(() => reject(timedOut(timeoutMs)), timeoutMs);
      socket.once('close', () => clearTimeout(timer));
      // A connected socket hears that the port is closed, and nothing from anybody else.
      socket.on('error', reject);
      socket.on('message', (answer) => {
        if (answers(query, answer)) resolve(answer);
      });
      socket.connect(server.port, server.ip.toString(), () => socket.send(query));
    });
  } finally {
    socket.close();
  }
}

async function askTcp(server: UpstreamServer, query: Buffer, timeoutMs: number): Promise<Buffer> {
  const socket = connect({ host: server.ip.toString(), port: server.port });
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      const frames = new StreamFrames();
      socket.setTimeout(timeoutMs, () => reject(timedOut(timeoutMs)));
      socket.on('error', reject);
      socket.on('close', () => reject(new FlatnetError('connection closed', { code: 'UPSTREAM_CLOSED' })));
      socket.on('connect', () => socket.write(frame(query)));
      socket.on('data', (chunk) => {
        for (const answer of frames.push(chunk)) if (answers(query, answer)) resolve(answer);
      });
    });
  } finally {
    socket.destroy();
  }
}

// RFC 5452 section 9.1: same id, same question. Case may come back changed.
function answers(query: Buffer, answer: Buffer): boolean {
  if (answer.length < HEADER_LENGTH || ((answer[2] ?? 0) & 0x80) === 0) return false;
  if (answer.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  // A server that could not read the question sends its error without one.
  if (answer.readUInt16BE(4) === 0) return ((answer[3] ?? 0) & 0x0f) !== 0;
  try {
    const asked = decodeQuestion(query, HEADER_LENGTH);
    const told = decodeQuestion(answer, HEADER_LENGTH);
    return asked.type === told.type && asked.labels.join('.') === told.labels.join('.');
  } catch {
    return false;
  }
}

function timedOut(timeoutMs: number): FlatnetError {
  return new FlatnetError(`no answer within ${timeoutMs} ms`, { code: 'UPSTREAM_TIMEOUT', retryable: true });
}
