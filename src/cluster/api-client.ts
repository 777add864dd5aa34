import type { DeleteOptions, ListMeta } from 'kubernetes-types/meta/v1.js';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { ClusterAccess } from './access.ts';
import { hasStatus } from './api-error.ts';
import type { KubeObject, ObjectRef } from './kube-object.ts';
import { refOf } from './kube-object.ts';
import { PATCH_CONTENT_TYPES, type Patch } from './patch.ts';
import { apiVersionOf, type ResourceType } from './resource-type.ts';
import { PROTOBUF, readListPage } from './protobuf/list-page.ts';
import type { ProtoMessage } from './protobuf/message.ts';
import { JSON_TYPE, parseJson, Transport, type TransportRequest } from './transport.ts';
import { readWatch, type WatchEvent } from './watch.ts';

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface WriteOptions extends RequestOptions {
  /** `status`, `scale` … */
  readonly subresource?: string | undefined;
  readonly fieldManager?: string | undefined;
}

export interface SelectOptions extends RequestOptions {
  /** All namespaces when absent. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface WatchOptions extends SelectOptions {
  readonly resourceVersion?: string | undefined;
  /** The server ends the watch after so many seconds. */
  readonly timeoutSeconds?: number | undefined;
  readonly idleTimeoutMs?: number | undefined;
}

export interface ListResult<T> {
  readonly items: T[];
  /** Where a watch goes on from. */
  readonly resourceVersion: string;
}

export interface ListOptions extends SelectOptions {
  /**
   * Of each object what this message reads is enough. From a server that has protobuf, as kube-apiserver does,
   * objects come in it: a third of the bytes, and without making what nobody wants.
   */
  readonly protobuf?: ProtoMessage | undefined;
}

interface ListPage<T> {
  readonly metadata?: ListMeta;
  readonly items?: Iterable<T> | null;
  readonly inProtobuf?: boolean;
}

/** Objects of a page; in protobuf so many take half of the bytes that the others take in JSON. */
const PAGE_SIZE = 250;
const PROTOBUF_PAGE_SIZE = 500;

/** The Kubernetes API, typed. Refusals are thrown as ApiError, everything else as FlatnetError. */
export class ApiClient {
  /** Where objects go that name no namespace. */
  readonly namespace: string;
  readonly #transport: Transport;

  constructor(access: ClusterAccess, userAgent = 'flatnet') {
    this.namespace = access.namespace;
    this.#transport = new Transport(access, userAgent);
  }

  async get<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    options: RequestOptions & { readonly subresource?: string } = {},
  ): Promise<T> {
    return this.#transport.sendJson<T>({
      method: 'GET',
      path: this.#path(type, ref, options.subresource),
      doing: `cannot get ${nameOf(type, ref)}`,
      signal: options.signal,
    });
  }

  async list<T extends KubeObject>(
    type: ResourceType<T>,
    options: SelectOptions = {},
  ): Promise<ListResult<T>> {
    return this.listProjected(type, options, (object) => object);
  }

  /** As `list`, page by page, keeping of each object only what `project` returns. */
  async listProjected<T extends KubeObject, P>(
    type: ResourceType<T>,
    options: ListOptions,
    project: (object: T, inProtobuf: boolean) => P,
  ): Promise<ListResult<P>> {
    try {
      const pageSize = options.protobuf === undefined ? PAGE_SIZE : PROTOBUF_PAGE_SIZE;
      return await this.#listPages(type, options, project, pageSize);
    } catch (error) {
      // The continuation expired between two pages (compaction): all at once is what is left.
      if (!hasStatus(error, 410)) throw error;
      return this.#listPages(type, options, project, undefined);
    }
  }

  async create<T extends KubeObject>(
    type: ResourceType<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    const ref = refOf(object);
    return this.#transport.sendJson<T>({
      method: 'POST',
      path: this.#collectionPath(type, this.#namespaceFor(type, ref)) + query(writeQuery(options)),
      doing: `cannot create ${nameOf(type, ref)}`,
      body: typed(type, object),
      signal: options.signal,
    });
  }

  /** POST to a subresource: `binding` of a pod, `token` of a service account. */
  async createSubresource<R extends KubeObject>(
    type: ResourceType,
    ref: ObjectRef,
    subresource: string,
    body: KubeObject,
    options: RequestOptions = {},
  ): Promise<R> {
    return this.#transport.sendJson<R>({
      method: 'POST',
      path: this.#path(type, ref, subresource),
      doing: `cannot create the ${subresource} of ${nameOf(type, ref)}`,
      body,
      signal: options.signal,
    });
  }

  /** Replaces the whole object; 409 when its resourceVersion is not the server's. */
  async replace<T extends KubeObject>(
    type: ResourceType<T>,
    object: T,
    options: WriteOptions = {},
  ): Promise<T> {
    const ref = refOf(object);
    return this.#transport.sendJson<T>({
      method: 'PUT',
      path: this.#path(type, ref, options.subresource) + query(writeQuery(options)),
      doing: `cannot update ${nameOf(type, ref, options.subresource)}`,
      body: typed(type, object),
      signal: options.signal,
    });
  }

  async patch<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    patch: Patch,
    options: WriteOptions = {},
  ): Promise<T> {
    const apply =
      patch.type === 'apply' ? { fieldManager: patch.fieldManager, force: patch.force ?? false } : {};
    return this.#transport.sendJson<T>({
      method: 'PATCH',
      path: this.#path(type, ref, options.subresource) + query({ ...writeQuery(options), ...apply }),
      doing: `cannot patch ${nameOf(type, ref, options.subresource)}`,
      body: patch.type === 'apply' ? typed(type, patch.body) : patch.body,
      contentType: PATCH_CONTENT_TYPES[patch.type],
      signal: options.signal,
    });
  }

  /**
   * Asks for deletion. Resolves to the object while finalizers or a grace period keep it (then it has a
   * deletionTimestamp); otherwise to what the server says of it: its last state or a Status.
   */
  async delete<T extends KubeObject>(
    type: ResourceType<T>,
    ref: ObjectRef,
    options: RequestOptions & Omit<DeleteOptions, 'apiVersion' | 'kind'> = {},
  ): Promise<T> {
    const { signal, ...rest } = options;
    return this.#transport.sendJson<T>({
      method: 'DELETE',
      path: this.#path(type, ref),
      doing: `cannot delete ${nameOf(type, ref)}`,
      body: { apiVersion: 'v1', kind: 'DeleteOptions', ...rest },
      signal,
    });
  }

  /**
   * What happens from `resourceVersion` on, bookmarks included. Ends when the server ends it; throws when the
   * connection breaks, falls silent or the server no longer knows the version (410).
   */
  async *watch<T extends KubeObject>(
    type: ResourceType<T>,
    options: WatchOptions = {},
  ): AsyncGenerator<WatchEvent<T>> {
    const doing = `cannot watch ${type.plural}`;
    const response = await this.#transport.send({
      method: 'GET',
      path:
        this.#collectionPath(type, options.namespace) +
        query({
          ...selectQuery(options),
          watch: true,
          allowWatchBookmarks: true,
          resourceVersion: options.resourceVersion,
          timeoutSeconds: options.timeoutSeconds,
        }),
      doing,
      signal: options.signal,
      idleTimeoutMs: options.idleTimeoutMs,
    });
    yield* readWatch<T>(doing, response.body);
  }

  /**
   * Drops all connections, and goes on with new ones: those from an address that the machine no longer has would hang
   * until they are given up for dead.
   */
  reconnect(): void {
    this.#transport.reconnect();
  }

  /** Drops all connections; watches end with an error. */
  async close(): Promise<void> {
    await this.#transport.close();
  }

  async #listPages<T extends KubeObject, P>(
    type: ResourceType<T>,
    options: ListOptions,
    project: (object: T, inProtobuf: boolean) => P,
    limit: number | undefined,
  ): Promise<ListResult<P>> {
    const items: P[] = [];
    const read = async (continuation?: string): Promise<ListPage<T>> =>
      this.#listPage<T>(
        {
          method: 'GET',
          path:
            this.#collectionPath(type, options.namespace) +
            query({ ...selectQuery(options), limit, continue: continuation }),
          doing: `cannot list ${type.plural}`,
          signal: options.signal,
        },
        options.protobuf,
      );
    let page = await read();
    for (;;) {
      requireList(type, page);
      // Asked for before this page is taken apart, so that the server is not idle meanwhile.
      const next = page.metadata?.continue ? read(page.metadata.continue) : undefined;
      // Should the loop throw, nobody waits for it.
      next?.catch(() => {});
      for (const item of page.items ?? []) {
        items.push(project(typed(type, item), page.inProtobuf === true));
      }
      if (next === undefined) return { items, resourceVersion: page.metadata?.resourceVersion ?? '' };
      page = await next;
    }
  }

  async #listPage<T>(request: TransportRequest, message: ProtoMessage | undefined): Promise<ListPage<T>> {
    if (message === undefined) return this.#transport.sendJson<ListPage<T>>(request);
    const accept = `${PROTOBUF}, ${JSON_TYPE}`;
    const { bytes, contentType } = await this.#transport.sendBytes({ ...request, accept });
    if (contentType !== PROTOBUF) return parseJson(request.doing, bytes) as ListPage<T>;
    return { ...(readListPage(request.doing, bytes, message) as ListPage<T>), inProtobuf: true };
  }

  #namespaceFor(type: ResourceType, ref: ObjectRef): string | undefined {
    return type.namespaced ? (ref.namespace ?? this.namespace) : undefined;
  }

  #collectionPath(type: ResourceType, namespace: string | undefined): string {
    const root = type.group === '' ? `/api/${type.version}` : `/apis/${type.group}/${type.version}`;
    const scope = type.namespaced && namespace !== undefined ? `/namespaces/${encode(namespace)}` : '';
    return `${root}${scope}/${type.plural}`;
  }

  #path(type: ResourceType, ref: ObjectRef, subresource?: string): string {
    const path = `${this.#collectionPath(type, this.#namespaceFor(type, ref))}/${encode(ref.name)}`;
    return subresource === undefined ? path : `${path}/${subresource}`;
  }
}

const encode = encodeURIComponent;

/** Something else in the server's place may well answer 200: taken for an empty list it would delete everything. */
function requireList(type: ResourceType, page: ListPage<unknown> | null): void {
  const items: unknown = page?.items;
  // Go writes a list without elements as null.
  const empty = items === null || (items === undefined && page?.metadata?.resourceVersion !== undefined);
  if (empty || (typeof items === 'object' && Symbol.iterator in items)) return;
  throw new FlatnetError(`cannot list ${type.plural}: the server's answer is not a list`, {
    code: 'API_BAD_JSON',
    retryable: true,
    hint: 'is the server address that of a Kubernetes API?',
  });
}

/** What is no object stays as it is, for who reads it to tell. */
function typed<T extends KubeObject>(type: ResourceType, object: T): T {
  if (typeof object !== 'object' || object === null) return object;
  object.apiVersion ??= apiVersionOf(type);
  object.kind ??= type.kind;
  return object;
}

function nameOf(type: ResourceType, ref: ObjectRef, subresource?: string): string {
  const namespace = ref.namespace === undefined ? '' : `${ref.namespace}/`;
  const of = subresource === undefined ? '' : `the ${subresource} of `;
  return `${of}${type.kind} ${namespace}${ref.name}`;
}

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

function query(parameters: Query): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== '') search.set(key, String(value));
  }
  return search.size === 0 ? '' : `?${search.toString()}`;
}

function selectQuery(options: SelectOptions): Query {
  return { labelSelector: options.labelSelector, fieldSelector: options.fieldSelector };
}

function writeQuery(options: WriteOptions): Query {
  return { fieldManager: options.fieldManager };
}
