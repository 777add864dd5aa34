import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { withNetns } from '../../kernel/netns/netns.ts';
import { encodeListAnswer } from '../../cluster/protobuf/encode.ts';
import { PROTOBUF } from '../../cluster/protobuf/list-page.ts';
import type { ProtoMessage } from '../../cluster/protobuf/message.ts';
import { CertificateAuthority } from '../../lab/apiserver/pki/certificate-authority.ts';
import { encodeRecorded } from './recorded-messages.ts';

/** Where objects stand, and what a list of them is called. */
export interface Collection {
  readonly path: string;
  readonly listKind: string;
  /** All that the objects have in protobuf; without it they come in JSON, whatever is asked for. */
  readonly message?: ProtoMessage | undefined;
  /** Objects as JSON text, by name. */
  readonly objects: ReadonlyMap<string, string>;
}

interface KeptCollection {
  readonly listKind: string;
  readonly message: ProtoMessage | undefined;
  /** Of each object that is as it was recorded. */
  readonly encoded: Map<string, Buffer>;
  readonly objects: Map<string, string>;
  readonly watchers: Set<ServerResponse>;
}

export const SERVICES_PATH = '/api/v1/services';
export const SLICES_PATH = '/apis/discovery.k8s.io/v1/endpointslices';
export const NODES_PATH = '/api/v1/nodes';

/**
 * An API server of objects that were written down before: pages of a list are joined from ready JSON, watch events are
 * sent as they are told. So it takes next to no CPU from what is measured.
 */
export class RecordedApi {
  readonly certificateAuthority: string;
  readonly #collections: ReadonlyMap<string, KeptCollection>;
  readonly #server: Server;

  constructor(collections: readonly Collection[]) {
    this.#collections = new Map(
      collections.map(({ path, listKind, message, objects }) => {
        const encoded = new Map(
          message === undefined
            ? []
            : [...objects].map(([name, json]) => [name, encodeRecorded(message, json)]),
        );
        return [path, { listKind, message, encoded, objects: new Map(objects), watchers: new Set() }];
      }),
    );
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

  /** Resolves when Services and slices are watched. */
  async watched(): Promise<void> {
    const unwatched = (path: string): boolean => (this.#collections.get(path)?.watchers.size ?? 0) === 0;
    while (unwatched(SERVICES_PATH) || unwatched(SLICES_PATH)) await once(this.#server, 'request');
  }

  /** Puts an object in the place of the one of that name, and tells watchers. */
  modify(path: string, name: string, object: string): void {
    const collection = this.#collections.get(path);
    collection?.objects.set(name, object);
    collection?.encoded.delete(name);
    for (const watcher of collection?.watchers ?? [])
      watcher.write(`{"type":"MODIFIED","object":${object}}\n`);
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'https://api');
    const collection = this.#collections.get(pathname);
    const inProtobuf =
      collection?.message !== undefined && request.headers.accept?.startsWith(PROTOBUF) === true;
    response.setHeader('content-type', inProtobuf ? PROTOBUF : 'application/json');
    if (collection !== undefined) {
      if (searchParams.has('watch')) watch(collection, response);
      else list(collection, searchParams, inProtobuf, response);
      return;
    }
    const at = pathname.lastIndexOf('/');
    const object = this.#collections.get(pathname.slice(0, at))?.objects.get(pathname.slice(at + 1));
    if (object === undefined) response.writeHead(404);
    response.end(object ?? '{"kind":"Status","apiVersion":"v1","status":"Failure","code":404}');
  }
}

function list(
  { listKind, message, encoded, objects }: KeptCollection,
  query: URLSearchParams,
  inProtobuf: boolean,
  response: ServerResponse,
): void {
  const items = [...objects];
  const from = Number(query.get('continue') ?? 0);
  const to = Math.min(items.length, from + Number(query.get('limit') ?? items.length));
  const metadata = {
    resourceVersion: '1000000',
    ...(to < items.length ? { continue: String(to), remainingItemCount: items.length - to } : {}),
  };
  const page = items.slice(from, to);
  if (inProtobuf && message !== undefined) {
    const parts = page.map(([name, json]) => encoded.get(name) ?? encodeRecorded(message, json));
    response.end(encodeListAnswer(metadata, parts));
  } else {
    const head = `{"kind":"${listKind}","metadata":${JSON.stringify(metadata)},"items":[`;
    response.end(`${head}${page.map(([, json]) => json).join(',')}]}`);
  }
}

function watch({ watchers }: KeptCollection, response: ServerResponse): void {
  response.flushHeaders();
  response.socket?.setNoDelay(true);
  watchers.add(response);
  response.on('close', () => watchers.delete(response));
}
