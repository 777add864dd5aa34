import { createSecureContext } from 'node:tls';
import type { Status } from 'kubernetes-types/meta/v1.js';
import type { Dispatcher, Pool as UndiciPool } from 'undici';
import sendThrough from 'undici/lib/api/api-request.js';
import Pool from 'undici/lib/dispatcher/pool.js';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { retry } from '../timing/backoff.ts';
import type { ClusterAccess, Credentials } from './access.ts';
import { ApiError, hasStatus } from './api-error.ts';
import { PROTOBUF, readStatus } from './protobuf/list-page.ts';

export interface TransportRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Below the server's own path, with query. */
  readonly path: string;
  /** For error messages: `cannot list pods`. */
  readonly doing: string;
  readonly body?: unknown;
  readonly contentType?: string;
  /** What the answer may be; JSON when absent. */
  readonly accept?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Longest silence within the answer, milliseconds. */
  readonly idleTimeoutMs?: number | undefined;
}

export interface AnswerBytes {
  readonly bytes: Buffer;
  /** `application/json`; empty when the server does not say. */
  readonly contentType: string;
}

export const JSON_TYPE = 'application/json';
const CONNECT_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** libuv then sends ten probes a second apart: a peer that vanished is noticed after 25 seconds of silence. */
const KEEP_ALIVE_DELAY_MS = 15_000;
const ATTEMPTS = 6;
const LOST = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);
const SILENT = new Set(['UND_ERR_BODY_TIMEOUT', 'UND_ERR_HEADERS_TIMEOUT']);

/** HTTP requests to one API server: connections, credentials and the retries the server asks for. */
export class Transport {
  readonly #access: ClusterAccess;
  readonly #basePath: string;
  readonly #userAgent: string;
  #pool: { readonly pool: UndiciPool; readonly certificate: string | undefined } | undefined;

  constructor(access: ClusterAccess, userAgent: string) {
    this.#access = access;
    this.#basePath = new URL(access.server).pathname.replace(/\/$/, '');
    this.#userAgent = userAgent;
  }

  /** Resolves to a successful response whose body the caller must consume. */
  async send(request: TransportRequest): Promise<Dispatcher.ResponseData> {
    return retry(() => this.#authenticated(request), {
      attempts: ATTEMPTS,
      ...(request.signal === undefined ? {} : { signal: request.signal }),
      shouldRetry: (error) => isWorthRepeating(error, request.method),
      prescribedDelayMs: (error) => (error instanceof ApiError ? error.retryAfterMs : undefined),
    });
  }

  async sendJson<R>(request: TransportRequest): Promise<R> {
    const { bytes } = await this.sendBytes(request);
    return parseJson(request.doing, bytes) as R;
  }

  /** The whole answer, of whatever type it is. */
  async sendBytes(request: TransportRequest): Promise<AnswerBytes> {
    const { headers, body } = await this.send(request);
    try {
      return { bytes: await bytesOf(body), contentType: contentTypeOf(headers) };
    } catch (error) {
      throw connectionError(request.doing, this.#access.server, error);
    }
  }

  /** Drops all connections; what is asked from now on gets new ones. */
  reconnect(): void {
    const old = this.#pool?.pool;
    this.#pool = undefined;
    void old?.destroy();
  }

  async close(): Promise<void> {
    await this.#pool?.pool.destroy();
  }

  async #authenticated(request: TransportRequest): Promise<Dispatcher.ResponseData> {
    try {
      return await this.#once(request, await this.#access.credentials(false));
    } catch (error) {
      if (!hasStatus(error, 401)) throw error;
      return this.#once(request, await this.#access.credentials(true));
    }
  }

  async #once(request: TransportRequest, credentials: Credentials): Promise<Dispatcher.ResponseData> {
    let response: Dispatcher.ResponseData;
    try {
      response = await sendThrough.call(this.#poolFor(credentials), {
        method: request.method,
        path: this.#basePath + request.path,
        headers: this.#headers(request, credentials),
        headersTimeout: REQUEST_TIMEOUT_MS,
        bodyTimeout: request.idleTimeoutMs ?? REQUEST_TIMEOUT_MS,
        ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
        ...(request.signal === undefined ? {} : { signal: request.signal }),
      });
    } catch (error) {
      throw connectionError(request.doing, this.#access.server, error);
    }
    if (response.statusCode >= 200 && response.statusCode < 300) return response;
    throw await refusal(request.doing, response);
  }

  #headers(request: TransportRequest, credentials: Credentials): Record<string, string> {
    return {
      accept: request.accept ?? JSON_TYPE,
      'user-agent': this.#userAgent,
      ...(credentials.authorization === undefined ? {} : { authorization: credentials.authorization }),
      ...(request.body === undefined ? {} : { 'content-type': request.contentType ?? JSON_TYPE }),
    };
  }

  /** Client certificates belong to connections, so new ones (an exec plugin's) need a new pool. */
  #poolFor(credentials: Credentials): UndiciPool {
    if (this.#pool !== undefined && this.#pool.certificate === credentials.certificate)
      return this.#pool.pool;
    const old = this.#pool?.pool;
    const pool = new Pool(new URL(this.#access.server).origin, {
      connect: {
        timeout: CONNECT_TIMEOUT_MS,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
        rejectUnauthorized: this.#access.insecureSkipTlsVerify !== true,
        // Made once: parsing certificates for every connection costs a millisecond and memory each time.
        secureContext: createSecureContext({
          ca: this.#access.certificateAuthority,
          cert: credentials.certificate,
          key: credentials.key,
        }),
        ...(this.#access.tlsServerName === undefined ? {} : { servername: this.#access.tlsServerName }),
      },
    });
    this.#pool = { pool, certificate: credentials.certificate };
    // Requests under way, watches too, end on their own connections.
    void old?.close();
    return pool;
  }
}

/** Any request that the server put off (429, 503 with Retry-After); reads whose connection broke. */
function isWorthRepeating(error: unknown, method: string): boolean {
  if (error instanceof ApiError) return error.retryable && error.retryAfterMs !== undefined;
  return method === 'GET' && error instanceof FlatnetError && error.code === 'API_CONNECTION_LOST';
}

async function refusal(doing: string, response: Dispatcher.ResponseData): Promise<ApiError> {
  const bytes = await bytesOf(response.body).catch(() => Buffer.alloc(0));
  const header = response.headers['retry-after'];
  const seconds = typeof header === 'string' && /^\d+$/.test(header) ? Number(header) : undefined;
  return new ApiError(
    doing,
    response.statusCode,
    parseStatus(doing, bytes, contentTypeOf(response.headers)),
    seconds === undefined ? undefined : seconds * 1000,
  );
}

function parseStatus(doing: string, bytes: Buffer, contentType: string): Partial<Status> {
  const text = bytes.toString();
  try {
    if (contentType === PROTOBUF) return readStatus(doing, bytes);
    const parsed = JSON.parse(text) as unknown;
    if (typeof parsed === 'object' && parsed !== null) return parsed;
  } catch {
    // A proxy's or load balancer's own words.
  }
  return text.trim() === '' ? {} : { message: text.trim().slice(0, 500) };
}

async function bytesOf(body: Dispatcher.ResponseData['body']): Promise<Buffer> {
  const { buffer, byteOffset, byteLength } = await body.bytes();
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** Without its parameters. */
function contentTypeOf(headers: Dispatcher.ResponseData['headers']): string {
  const type = headers['content-type'];
  return (typeof type === 'string' ? (type.split(';')[0] ?? '') : '').trim();
}

export function parseJson(doing: string, bytes: Buffer): unknown {
  const text = bytes.toString();
  try {
    return JSON.parse(text);
  } catch (error) {
    throw badJson(doing, text, error);
  }
}

export function badJson(doing: string, text: string, cause: unknown): FlatnetError {
  return new FlatnetError(
    `${doing}: the server's answer is not JSON: ${JSON.stringify(text.slice(0, 100))}`,
    {
      code: 'API_BAD_JSON',
      retryable: true,
      hint: 'is the server address that of a Kubernetes API?',
      cause,
    },
  );
}

/** Wraps what undici throws; an abort by the caller's own signal passes as it is. */
export function connectionError(doing: string, server: string, error: unknown): unknown {
  if (!(error instanceof Error) || error.name === 'AbortError' || error instanceof FlatnetError) return error;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (LOST.has(code)) {
    return new FlatnetError(`${doing}: connection to ${server} lost: ${error.message}`, {
      code: 'API_CONNECTION_LOST',
      retryable: true,
      cause: error,
    });
  }
  if (SILENT.has(code)) {
    return new FlatnetError(`${doing}: no word from ${server} for too long`, {
      code: 'API_SILENT',
      retryable: true,
      cause: error,
    });
  }
  const isCertificate = /CERT|SELF_SIGNED|UNABLE_TO|ERR_TLS|ERR_OSSL/.test(code);
  return new FlatnetError(`${doing}: cannot reach ${server}: ${error.message}`, {
    code: isCertificate ? 'API_CERTIFICATE' : 'API_UNREACHABLE',
    retryable: true,
    hint: isCertificate
      ? 'look at certificate-authority(-data) and tls-server-name of the cluster in the kubeconfig'
      : 'is the API server running, and is its address reachable from here?',
    cause: error,
  });
}
