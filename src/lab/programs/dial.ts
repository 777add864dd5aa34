import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { get } from 'node:http';
import { describeError } from '../../errors/flatnet-error.ts';

const TIMEOUT_MS = 5000;
/** What netexec reads of a UDP answer. */
const UDP_LIMIT = 2048;

export interface DialRequest {
  readonly protocol: 'http' | 'udp';
  readonly host: string;
  readonly port: number;
  /** Path without its slash, or the datagram. */
  readonly request: string;
  readonly tries: number;
}

export interface DialResult {
  readonly responses?: string[];
  readonly errors?: string[];
}

/** Asks `tries` times, one after the other, each on a connection (or socket) of its own. */
export async function dialAll(dial: DialRequest): Promise<DialResult> {
  const responses: string[] = [];
  const errors: string[] = [];
  // As netexec does, the name is resolved once for all tries.
  const { address } = await lookup(dial.host || 'localhost');
  for (let i = 0; i < dial.tries; i += 1) {
    try {
      responses.push(await (dial.protocol === 'http' ? dialHttp(dial, address) : dialUdp(dial, address)));
    } catch (error) {
      errors.push(describeError(error));
    }
  }
  return { ...(responses.length > 0 && { responses }), ...(errors.length > 0 && { errors }) };
}

async function dialHttp(dial: DialRequest, address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const path = `/${dial.request.replace(/^\//, '')}`;
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const asking = get({ host: address, port: dial.port, path, agent: false, signal }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')));
      response.on('error', reject);
    });
    asking.on('error', reject);
  });
}

async function dialUdp(dial: DialRequest, address: string): Promise<string> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  try {
    return await new Promise<string>((resolve, reject) => {
      const timer = setTimeout(
        () =>
          reject(new Error(`reading from udp connection failed. err:'no answer within ${TIMEOUT_MS} ms'`)),
        TIMEOUT_MS,
      );
      socket.once('close', () => clearTimeout(timer));
      socket.on('error', (error) => reject(new Error(`udp dial failed. err:${error.message}`)));
      socket.on('message', (message) => resolve(message.subarray(0, UDP_LIMIT).toString('utf8')));
      socket.connect(dial.port, address, () => socket.send(dial.request));
    });
  } finally {
    socket.close();
  }
}
