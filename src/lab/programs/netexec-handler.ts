import type { IncomingMessage, ServerResponse } from 'node:http';
import { hostname } from 'node:os';
import { describeError } from '../../errors/flatnet-error.ts';
import { sleep } from '../../timing/backoff.ts';
import { dialAll } from './dial.ts';
import { parseGoDuration } from './go-duration.ts';
import { logLine } from './program.ts';
import { socketText } from './socket-text.ts';

export interface ExitRequest {
  readonly code: number;
  /** How long requests in work may take. */
  readonly timeoutMs: number;
}

export interface NetexecHandlerOptions {
  readonly isReady: () => boolean;
  readonly exit: (request: ExitRequest) => void;
  /** Path and query that every request is answered as; '' for its own. */
  readonly override: string;
}

interface Reply {
  readonly status?: number;
  readonly body?: string;
  readonly headers?: Record<string, string>;
}

type Route = (query: URLSearchParams, request: IncomingMessage) => Reply | Promise<Reply>;

/** The paths of netexec's HTTP server. */
export class NetexecHandler {
  readonly #options: NetexecHandlerOptions;
  readonly #routes: Readonly<Record<string, Route>>;

  constructor(options: NetexecHandlerOptions) {
    this.#options = options;
    this.#routes = {
      '/clientip': (_query, request) => ({
        body: socketText(request.socket.remoteAddress, request.socket.remotePort),
      }),
      '/serverport': (_query, request) => ({ body: String(request.socket.localPort) }),
      '/header': (query, request) => ({
        body: String(request.headers[(query.get('key') ?? '').toLowerCase()] ?? ''),
      }),
      '/hostname': sayName,
      '/hostName': sayName,
      '/echo': (query) => echo(query),
      '/redirect': (query) => redirect(query),
      '/healthz': () => ({ status: options.isReady() ? 200 : 412 }),
      '/readyz': () => ({ status: options.isReady() ? 200 : 412 }),
      '/dial': async (query) => dial(query),
      '/shell': async (query) => shell(query),
      '/upload': async (_query, request) => upload(request),
      '/exit': (query) => this.#exit(query),
      '/shutdown': () => this.#shutdown(),
    };
  }

  /** To be given to an HTTP server. */
  readonly handle = (request: IncomingMessage, response: ServerResponse): void => {
    void this.#reply(request).then(({ status = 200, body = '', headers = {} }) => {
      response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...headers });
      response.end(body);
    });
  };

  async #reply(request: IncomingMessage): Promise<Reply> {
    const target = this.#options.override === '' ? (request.url ?? '/') : this.#options.override;
    logLine(`${request.method ?? 'GET'} ${target}`);
    try {
      const url = new URL(target, 'http://netexec');
      const route = Object.hasOwn(this.#routes, url.pathname) ? this.#routes[url.pathname] : undefined;
      if (route === undefined) return { body: `NOW: ${new Date().toISOString()}` };
      return await route(url.searchParams, request);
    } catch (error) {
      return { status: 400, body: `${describeError(error)}\n` };
    }
  }

  #exit(query: URLSearchParams): Reply {
    const timeoutMs = parseGoDuration(query.get('timeout') ?? '0');
    const waitMs = parseGoDuration(query.get('wait') ?? '0');
    const code = Number(query.get('code') ?? '0');
    if (!Number.isInteger(code) || code < 0 || code > 127) {
      return {
        body: `argument 'code' must be an integer [0-127] or empty, got ${JSON.stringify(query.get('code'))}\n`,
      };
    }
    logLine(`Will begin shutdown in ${waitMs} ms, allowing ${timeoutMs} ms for connections to close`);
    void sleep(waitMs).then(() => this.#end({ code, timeoutMs }));
    return {};
  }

  #shutdown(): Reply {
    setImmediate(() => this.#end({ code: 0, timeoutMs: 0 }));
    return {};
  }

  #end(request: ExitRequest): void {
    if (request.timeoutMs === 0) process.exit(request.code);
    this.#options.exit(request);
  }
}

function sayName(): Reply {
  return { body: hostname() };
}

function badRequest(text: string): Reply {
  return { status: 400, body: `${text}\n` };
}

function echo(query: URLSearchParams): Reply {
  const code = query.get('code') ?? '';
  const status = Number(code);
  if (code !== '' && !(Number.isInteger(status) && status >= 200 && status <= 599)) {
    return { body: `argument 'code' must be an integer or empty, got ${JSON.stringify(code)}\n` };
  }
  return { status: code === '' ? 200 : status, body: query.get('msg') ?? '' };
}

function redirect(query: URLSearchParams): Reply {
  const code = query.get('code') ?? '';
  const status = code === '' ? 302 : Number(code);
  if (!(Number.isInteger(status) && status >= 300 && status <= 399)) {
    return { body: `argument 'code' must be an integer or empty, got ${JSON.stringify(code)}\n` };
  }
  return { status, headers: { location: encodeURI(decodeURI(query.get('location') ?? '/')) } };
}

async function dial(query: URLSearchParams): Promise<Reply> {
  const protocol = (query.get('protocol') ?? 'http').toLowerCase() || 'http';
  const tries = Number(query.get('tries') || '1');
  const request = query.get('request') ?? '';
  const port = Number(query.get('port'));
  if (!Number.isInteger(tries) || tries < 0 || tries > 100_000)
    return badRequest('tries parameter is invalid');
  if (request === '') return badRequest('request parameter not specified');
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    return badRequest('host and/or port param are invalid');
  if (protocol !== 'http' && protocol !== 'udp') return badRequest(`unsupported protocol. ${protocol}`);
  const result = await dialAll({ protocol, host: query.get('host') ?? '', port, request, tries });
  return json(200, result);
}

// /shell runs what it is told: that is its documented purpose, in test pods.
async function shell(query: URLSearchParams): Promise<Reply> {
  const { execFile } = await import('node:child_process');
  const text = query.get('shellCommand') || query.get('cmd') || '';
  return new Promise((resolve) => {
    execFile('/bin/sh', ['-c', text], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      const output = `${stdout}${stderr}`;
      const failure = error === null ? undefined : exitText(error);
      resolve(
        json(200, { ...(output !== '' && { output }), ...(failure !== undefined && { error: failure }) }),
      );
    });
  });
}

function exitText(error: Error & { code?: unknown; signal?: unknown }): string {
  if (typeof error.code === 'number') return `exit status ${error.code}`;
  return typeof error.signal === 'string' ? `signal: ${error.signal}` : error.message;
}

async function upload(request: IncomingMessage): Promise<Reply> {
  const { storeUpload } = await import('./upload.ts');
  try {
    return json(201, { output: await storeUpload(request, '/uploads') });
  } catch (error) {
    logLine(`Unable to upload file: ${describeError(error)}`);
    return json(200, { error: 'Unable to upload file.' });
  }
}

function json(status: number, value: object): Reply {
  return { status, body: JSON.stringify(value), headers: { 'content-type': 'application/json' } };
}
