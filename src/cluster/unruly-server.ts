import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { ClusterAccess } from './access.ts';
import type { KubeObject } from './kube-object.ts';

/** Only for tests, valid for kubernetes.default.svc and for nobody to trust. */
const TEST_KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgIqDY8OV+q5Z+Cgcu
TE/gWyAtkJ1DRIYdYHAlRnCT24KhRANCAARKTOhIvI9r0KZ8wtnsjixBTq3yx+pY
4QvjEVeLNPCnYgnFOdcHq2eb2aLEQCA/k0CGKc+FSLLQ7MUgeWxYQqJC
-----END PRIVATE KEY-----`;
const TEST_CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBdzCCAR2gAwIBAgIBATAKBggqhkjOPQQDAjAaMRgwFgYDVQQDDA9UZXN0IG9m
IEZsYXRuZXQwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBoxGDAW
BgNVBAMMD1Rlc3Qgb2YgRmxhdG5ldDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BEpM6Ei8j2vQpnzC2eyOLEFOrfLH6ljhC+MRV4s08KdiCcU51werZ5vZosRAID+T
QIYpz4VIstDsxSB5bFhCokKjUjBQMCEGA1UdEQQaMBiCFmt1YmVybmV0ZXMuZGVm
YXVsdC5zdmMwDAYDVR0TBAUwAwEB/zAdBgNVHQ4EFgQUMJEYvd4cDtFwahWpXPAL
ZUoJYAswCgYIKoZIzj0EAwIDSAAwRQIge87nPDA/bsQAniOorDoh0Xn5+Bb8qqqW
3b1KxUYjpWMCIQCOp5ApxSEMyDkOkLtDyB4vYPH0IXCZboCet7+/hHSKtg==
-----END CERTIFICATE-----`;

interface HistoryEvent {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubeObject;
}

/** Takes a request in place of the server; returns false to leave it to the server. */
export type Misbehaviour = (request: IncomingMessage, response: ServerResponse) => boolean;

/** For tests: one collection of config maps behind real HTTPS, with the faults of real servers on demand. */
export class UnrulyServer {
  readonly requests: {
    readonly method: string;
    readonly url: URL;
    readonly headers: IncomingMessage['headers'];
  }[] = [];
  readonly bodies: unknown[] = [];
  readonly #objects = new Map<string, KubeObject>();
  readonly #snapshots = new Map<string, KubeObject[]>();
  readonly #watches = new Set<ServerResponse>();
  readonly #server: Server;
  #history: HistoryEvent[] = [];
  #version = 100;
  #compacted = 100;
  #misbehaviours: Misbehaviour[] = [];
  #frozen = false;

  private constructor() {
    this.#server = createServer({ key: TEST_KEY, cert: TEST_CERTIFICATE }, (request, response) => {
      void this.#serve(request, response);
    });
  }

  static async start(): Promise<UnrulyServer> {
    const unruly = new UnrulyServer();
    await new Promise<void>((resolve) => unruly.#server.listen(0, '127.0.0.1', resolve));
    return unruly;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  access(overrides: Partial<ClusterAccess> = {}): ClusterAccess {
    return {
      server: `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`,
      certificateAuthority: TEST_CERTIFICATE,
      tlsServerName: 'kubernetes.default.svc',
      namespace: 'default',
      credentials: async () => ({ authorization: 'Bearer good' }),
      ...overrides,
    };
  }

  get watchCount(): number {
    return this.#watches.size;
  }

  /** Name to value of everything that is stored. */
  content(): Record<string, string> {
    return Object.fromEntries([...this.#objects].map(([name, object]) => [name, valueOf(object)]));
  }

  put(name: string, value: string): void {
    const type = this.#objects.has(name) ? 'MODIFIED' : 'ADDED';
    this.#version += 1;
    const metadata = { name, namespace: 'default', resourceVersion: String(this.#version) };
    const object = { metadata, data: { value } };
    this.#objects.set(name, object);
    this.#record(type, object);
  }

  remove(name: string): void {
    const object = this.#objects.get(name);
    if (object === undefined) return;
    this.#version += 1;
    this.#objects.delete(name);
    const metadata = { ...object.metadata, resourceVersion: String(this.#version) };
    this.#record('DELETED', { ...object, metadata });
  }

  bookmark(): void {
    const object = { metadata: { resourceVersion: String(this.#version) } };
    for (const watch of this.#watches) write(watch, 'BOOKMARK', object);
  }

  /** Forgets history, as etcd's compaction does: older watches and continuations get 410. */
  compact(): void {
    this.#history = [];
    this.#snapshots.clear();
    this.#compacted = this.#version;
  }

  /** Handles requests to come before the server does; each is used once. */
  misbehave(...misbehaviours: Misbehaviour[]): void {
    this.#misbehaviours.push(...misbehaviours);
  }

  /** Breaks all watches off in the middle. */
  dropWatches(): void {
    for (const watch of this.#watches) watch.socket?.destroy();
    this.#watches.clear();
  }

  endWatches(): void {
    for (const watch of this.#watches) watch.end();
    this.#watches.clear();
  }

  /** Watches stay open and hear nothing more: the other side of a half-open connection. */
  freezeWatches(): void {
    this.#watches.clear();
    this.#frozen = true;
  }

  thaw(): void {
    this.#frozen = false;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'https://server');
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    this.requests.push({ method: request.method ?? '', url, headers: request.headers });
    this.bodies.push(body === '' ? undefined : JSON.parse(body));
    if (this.#misbehaviours.shift()?.(request, response) === true) return;
    if (request.headers.authorization !== 'Bearer good') refuse(response, 401, 'Unauthorized');
    else if (request.method !== 'GET') answer(response, 200, JSON.parse(body));
    else if (url.searchParams.get('watch') === 'true') this.#watch(url, response);
    else this.#list(url, response);
  }

  #list(url: URL, response: ServerResponse): void {
    const token = url.searchParams.get('continue');
    const limit = Number(url.searchParams.get('limit') ?? Infinity);
    const [version = '', offset = '0'] = token?.split('+') ?? [String(this.#version)];
    if (token === null) this.#snapshots.set(version, [...this.#objects.values()]);
    const snapshot = this.#snapshots.get(version);
    if (snapshot === undefined) {
      refuse(response, 410, 'Expired');
      return;
    }
    const end = Number(offset) + limit;
    answer(response, 200, {
      kind: 'ConfigMapList',
      metadata: {
        resourceVersion: version,
        ...(end < snapshot.length ? { continue: `${version}+${end}` } : {}),
      },
      items: snapshot.slice(Number(offset), end),
    });
  }

  #watch(url: URL, response: ServerResponse): void {
    const from = Number(url.searchParams.get('resourceVersion'));
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    if (from < this.#compacted) {
      const object = { kind: 'Status', status: 'Failure', code: 410, reason: 'Expired', message: 'too old' };
      response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
      return;
    }
    for (const event of this.#history) if (event.version > from) write(response, event.type, event.object);
    if (!this.#frozen) this.#watches.add(response);
    response.on('close', () => this.#watches.delete(response));
  }

  #record(type: HistoryEvent['type'], object: KubeObject): void {
    this.#history.push({ version: this.#version, type, object });
    for (const watch of this.#watches) write(watch, type, object);
  }
}

export function valueOf(object: KubeObject): string {
  return (object as { data?: { value?: string } }).data?.value ?? '';
}

function write(response: ServerResponse, type: string, object: KubeObject): void {
  response.write(`${JSON.stringify({ type, object })}\n`);
}

export function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

export function refuse(response: ServerResponse, status: number, reason: string, extra: object = {}): void {
  answer(response, status, { kind: 'Status', code: status, reason, message: `${reason} it is`, ...extra });
}

/** Breaks the connection off before any answer. */
export function hangUp(request: IncomingMessage): boolean {
  (request.socket as TLSSocket).destroy();
  return true;
}
