import { randomBytes } from 'node:crypto';
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import { FlatnetError, describeError } from '../../errors/flatnet-error.ts';
import { Flags } from './flags.ts';
import type { GuestbookList } from './guestbook-message.ts';
import { renderPage } from './guestbook-page.ts';
import { drain, listenOn, readBody } from './http-program.ts';
import { logLine, terminationSignal, type Program } from './program.ts';

const API_TIMEOUT_MS = 5000;
const DRAIN_MS = 20_000;

interface ApiReply {
  readonly status: number;
  readonly body: string;
}

/**
 * The web page of the sample application. It reads and writes by the API, which it finds by the DNS name of its
 * Service (environment variable API_URL), and works without scripts too.
 */
export const program: Program = async (args) => {
  const flags = Flags.parse(
    'guestbook frontend',
    [
      { name: 'port', kind: 'integer', fallback: 8080 },
      { name: 'api', kind: 'text', fallback: process.env['API_URL'] ?? 'http://guestbook-api' },
      { name: 'title', kind: 'text', fallback: process.env['GUESTBOOK_TITLE'] ?? 'Guestbook' },
    ],
    args,
  );
  const frontend = new Frontend(flags.text('api'), flags.text('title'));
  const server = createServer((request, response) => void frontend.answer(request, response));
  await listenOn(server, flags.integer('port'), 'guestbook frontend');
  logLine(`guestbook frontend on port ${flags.integer('port')}, API ${flags.text('api')}`);
  logLine(`${await terminationSignal()}: finishing the requests in work`);
  await drain(server, DRAIN_MS);
  return 0;
};

class Frontend {
  readonly #api: string;
  readonly #title: string;

  constructor(api: string, title: string) {
    this.#api = api;
    this.#title = title;
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?')[0];
    response.setHeader('x-frontend-pod', hostname());
    try {
      // RFC 9110, 9.3.2: HEAD is GET whose body Node.js leaves out.
      const method = request.method === 'HEAD' ? 'GET' : request.method;
      switch (`${method ?? ''} ${path}`) {
        case 'GET /healthz':
        case 'GET /readyz':
          return send(response, 200, 'text/plain', 'ok\n');
        case 'GET /':
          return await this.#page(response, 200);
        case 'POST /':
          return await this.#submit(request, response);
        case 'GET /api/messages':
        case 'POST /api/messages':
          return await this.#relay(request, response);
        default:
          return send(response, 404, 'text/plain', 'not found\n');
      }
    } catch (error) {
      logLine(`${request.method ?? ''} ${path}: ${describeError(error)}`);
      const status = error instanceof FlatnetError && error.code === 'BODY_TOO_LARGE' ? 413 : 500;
      if (!response.headersSent) sendJson(response, status, { error: describeError(error) });
    }
  }

  async #page(response: ServerResponse, status: number, problem?: string, draft?: Draft): Promise<void> {
    const reply = await this.#ask('GET');
    const list = reply.status === 200 ? (JSON.parse(reply.body) as GuestbookList) : undefined;
    const nonce = randomBytes(16).toString('base64');
    response.setHeader(
      'content-security-policy',
      `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`,
    );
    const page = renderPage({
      title: this.#title,
      nonce,
      list,
      problem: problem ?? (list === undefined ? errorOf(reply) : undefined),
      draft: draft ?? { name: '', text: '' },
      frontendPod: hostname(),
    });
    send(response, status, 'text/html; charset=utf-8', page);
  }

  // The way without scripts: a form, and a redirect so that a reload does not send it again.
  async #submit(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const form = new URLSearchParams(await readBody(request));
    const draft = { name: form.get('name') ?? '', text: form.get('text') ?? '' };
    const reply = await this.#ask('POST', JSON.stringify(draft));
    if (reply.status === 201) {
      response.writeHead(303, { location: '/' });
      response.end();
      return;
    }
    await this.#page(response, reply.status, errorOf(reply), draft);
  }

  async #relay(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reply =
      request.method === 'POST' ? await this.#ask('POST', await readBody(request)) : await this.#ask('GET');
    send(response, reply.status, 'application/json', reply.body);
  }

  // A connection of its own for each request: the API's Service balances connections, and the page is there
  // to show it. An application that cares for latency would keep connections open.
  async #ask(method: 'GET' | 'POST', body?: string): Promise<ApiReply> {
    const url = new URL('/api/messages', this.#api);
    const signal = AbortSignal.timeout(API_TIMEOUT_MS);
    try {
      return await new Promise<ApiReply>((resolve, reject) => {
        const options = { method, agent: false, signal, headers: { 'content-type': 'application/json' } };
        const asking = httpRequest(url, options, (answer) => {
          readBody(answer, Infinity).then(
            (body) => resolve({ status: answer.statusCode ?? 502, body }),
            reject,
          );
        });
        asking.on('error', reject);
        asking.end(body);
      });
    } catch (error) {
      const reason = signal.aborted ? `no answer within ${API_TIMEOUT_MS / 1000} s` : describeError(error);
      const message = `The API ${url.host} cannot be reached: ${reason}`;
      logLine(message);
      return { status: 503, body: JSON.stringify({ error: message }) };
    }
  }
}

interface Draft {
  readonly name: string;
  readonly text: string;
}

function errorOf(reply: ApiReply): string {
  try {
    const { error } = JSON.parse(reply.body) as { error?: string };
    return error ?? `the API answered with status ${reply.status}`;
  } catch {
    return `the API answered with status ${reply.status}`;
  }
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
  response.end(body);
}

function sendJson(response: ServerResponse, status: number, value: object): void {
  send(response, status, 'application/json', JSON.stringify(value));
}
