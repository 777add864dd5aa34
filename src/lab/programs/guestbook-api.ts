import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import { FlatnetError, describeError } from '../../errors/flatnet-error.ts';
import { Flags } from './flags.ts';
import { checkMessage, readStored, type GuestbookMessage } from './guestbook-message.ts';
import { drain, listenOn, readBody } from './http-program.ts';
import { logLine, terminationSignal, type Program } from './program.ts';
import { RedisClient } from './redis-client.ts';
import type { RespValue } from './resp.ts';

const KEY = 'guestbook:messages';
const KEPT = 100;
const SHOWN = 30;
const DRAIN_MS = 20_000;

/**
 * The API of the sample application: GET and POST /api/messages, kept in a Redis list. The store is found by the
 * DNS name of its Service (environment variable STORE, `host:port`).
 */
export const program: Program = async (args) => {
  const flags = Flags.parse(
    'guestbook api',
    [
      { name: 'port', kind: 'integer', fallback: 8080 },
      { name: 'store', kind: 'text', fallback: process.env['STORE'] ?? 'guestbook-store:6379' },
    ],
    args,
  );
  const [host = '', port = '6379'] = flags.text('store').split(':');
  const store = new RedisClient(host, Number(port));
  const server = createServer((request, response) => void answer(store, request, response));
  await listenOn(server, flags.integer('port'), 'guestbook api');
  logLine(`guestbook api on port ${flags.integer('port')}, store ${flags.text('store')}`);
  logLine(`${await terminationSignal()}: finishing the requests in work`);
  await drain(server, DRAIN_MS);
  store.close();
  return 0;
};

async function answer(store: RedisClient, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const where = `${request.method ?? ''} ${(request.url ?? '').split('?')[0]}`;
  try {
    switch (where) {
      // Not about the store: one store that is away would take every API pod out of the Service, and nobody
      // would be left to say what is wrong.
      case 'GET /healthz':
      case 'GET /readyz':
        return send(response, 200, { ok: true });
      case 'GET /api/messages':
        return send(response, 200, { messages: await list(store), pod: hostname() });
      case 'POST /api/messages':
        return send(response, 201, { message: await add(store, await readBody(request)), pod: hostname() });
      default:
        return send(response, 404, { error: `there is no ${where}`, pod: hostname() });
    }
  } catch (error) {
    logLine(`${where}: ${describeError(error)}`);
    send(response, statusOf(error), { error: describeError(error), pod: hostname() });
  }
}

async function list(store: RedisClient): Promise<GuestbookMessage[]> {
  const values = await store.command('LRANGE', KEY, '0', String(SHOWN - 1));
  return (Array.isArray(values) ? (values as RespValue[]) : [])
    .map((value) => (typeof value === 'string' ? readStored(value) : undefined))
    .filter((message) => message !== undefined);
}

async function add(store: RedisClient, body: string): Promise<GuestbookMessage> {
  const message = { ...checkMessage(parse(body)), at: new Date().toISOString(), pod: hostname() };
  await store.command('LPUSH', KEY, JSON.stringify(message));
  await store.command('LTRIM', KEY, '0', String(KEPT - 1));
  return message;
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new FlatnetError('the body is not JSON', { code: 'INVALID_MESSAGE' });
  }
}

function statusOf(error: unknown): number {
  const code = error instanceof FlatnetError ? error.code : '';
  if (code === 'INVALID_MESSAGE') return 422;
  if (code === 'BODY_TOO_LARGE') return 413;
  return code.startsWith('STORE_') ? 503 : 500;
}

function send(response: ServerResponse, status: number, value: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(value));
}
