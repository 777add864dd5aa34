import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { withNetns } from '../../kernel/netns/netns.ts';
import { CertificateAuthority } from '../../lab/apiserver/pki/certificate-authority.ts';

const PATHS = {
  '/api/v1/services': 'services',
  '/apis/discovery.k8s.io/v1/endpointslices': 'slices',
} as const;
const LIST_KINDS = { services: 'ServiceList', slices: 'EndpointSliceList' } as const;

type Collection = keyof typeof LIST_KINDS;

/**
 * An API server of two collections that were written down before: pages of a list are joined from ready JSON, watch
 * events are sent as they are told. So it takes next to no CPU from what is measured.
 */
export class RecordedApi {
  readonly certificateAuthority: string;
  readonly #items: Readonly<Record<Collection, readonly string[]>>;
  readonly #server: Server;
  readonly #watchers: Record<Collection, Set<ServerResponse>> = { services: new Set(), slices: new Set() };

  constructor(items: Readonly<Record<Collection, readonly string[]>>) {
    this.#items = items;
    const authority = CertificateAuthority.create('flatnet-bench');
    this.certificateAuthority = authority.certificate;
    const pair = authority.issue({ commonName: 'api', usage: 'server', names: ['127.0.0.1'] });
    this.#server = createServer({ cert: pair.certificate, key: pair.key }, (request, response) =>
      this.#answer(request, response),
    );
  }

  /** Listens in the network namespace; returns the server's URL there. */
  async listen(netns: number): Promise<string> {
    const listening = once(this.#server, 'listening');
    // Without an address nothing is looked up, and the socket is made within this call.
    withNetns(netns, () => void this.#server.listen(0));
    await listening;
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Resolves when both collections are watched. */
  async watched(): Promise<void> {
    while (this.#watchers.services.size === 0 || this.#watchers.slices.size === 0) {
      await once(this.#server, 'request');
    }
  }

  /** Tells watchers of the slices. */
  modify(slice: string): void {
    for (const watcher of this.#watchers.slices) watcher.write(`{"type":"MODIFIED","object":${slice}}\n`);
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'https://api');
    const collection = PATHS[url.pathname as keyof typeof PATHS] as Collection | undefined;
    if (collection === undefined) {
      response.writeHead(404).end();
      return;
    }
    response.setHeader('content-type', 'application/json');
    if (url.searchParams.has('watch')) this.#watch(collection, response);
    else this.#list(collection, url.searchParams, response);
  }

  #list(collection: Collection, query: URLSearchParams, response: ServerResponse): void {
    const items = this.#items[collection];
    const from = Number(query.get('continue') ?? 0);
    const to = Math.min(items.length, from + Number(query.get('limit') ?? items.length));
    const metadata = {
      resourceVersion: '1000000',
      ...(to < items.length ? { continue: String(to), remainingItemCount: items.length - to } : {}),
    };
    const head = `{"kind":"${LIST_KINDS[collection]}","metadata":${JSON.stringify(metadata)},"items":[`;
    response.end(`${head}${items.slice(from, to).join(',')}]}`);
  }

  #watch(collection: Collection, response: ServerResponse): void {
    response.flushHeaders();
    response.socket?.setNoDelay(true);
    this.#watchers[collection].add(response);
    response.on('close', () => this.#watchers[collection].delete(response));
  }
}
