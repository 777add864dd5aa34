import { setMaxListeners } from 'node:events';
import { performance } from 'node:perf_hooks';
import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { Backoff, type BackoffOptions, sleep } from '../timing/backoff.ts';
import type { ApiClient } from './api-client.ts';
import { hasStatus } from './api-error.ts';
import { keyOf, type KubeObject } from './kube-object.ts';
import type { ProtoMessage } from './protobuf/message.ts';
import type { ResourceType } from './resource-type.ts';
import type { WatchEvent } from './watch.ts';

export interface InformerOptions<T extends KubeObject, P> {
  /**
   * Keeps only what is needed in memory. Must not keep references to the whole object. An object for which it
   * throws is logged and passed over: what was known of it stays.
   */
  readonly project: (object: T) => P;
  /** Where lists may come in protobuf: what is read of it (names and resourceVersion too), and what that is in memory. */
  readonly protobuf?: { readonly message: ProtoMessage; readonly project: (object: object) => P } | undefined;
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly logger?: Logger | undefined;
  /** Without a word from the server (not even a bookmark) for so long, the watch is begun anew. */
  readonly idleTimeoutMs?: number | undefined;
  /** Of the tries to reach the server; from 200 milliseconds up to 30 seconds when absent. */
  readonly backoff?: BackoffOptions | undefined;
}

/** Called synchronously, in the order of the server's history; must not throw. Keys are `namespace/name`. */
export interface InformerHandler<P> {
  added?(object: P, key: string): void;
  updated?(object: P, old: P, key: string): void;
  deleted?(old: P, key: string): void;
}

/** Undefined: the object could not be understood. */
type Projected<P> = { readonly value: P } | undefined;

interface Entry<P> {
  readonly resourceVersion: string;
  readonly object: P;
}

/** kube-apiserver sends a bookmark a minute to a quiet watch, so a healthy connection is never cut by this. */
const IDLE_TIMEOUT_MS = 90_000;
/** A watch lives 5 to 10 minutes, drawn at random, so that clients spread over the API servers again. */
const WATCH_SECONDS = 300;
/** A watch that the server ends sooner, without one event, counts as a failure. */
const SHORT_WATCH_MS = 1000;

/**
 * The server's objects of one type, mirrored: a list, then a watch; whatever is missed while disconnected is
 * found by the next list and told to the handlers, deletions too.
 */
export class Informer<T extends KubeObject, P> {
  readonly #client: ApiClient;
  readonly #type: ResourceType<T>;
  readonly #options: InformerOptions<T, P>;
  readonly #entries = new Map<string, Entry<P>>();
  readonly #handlers = new Set<InformerHandler<P>>();
  readonly #backoff: Backoff;
  #waiters: (() => void)[] = [];
  #hasSynced = false;
  #failure: unknown;
  /** Undefined until a list is complete and after the server has forgotten it. */
  #resourceVersion: string | undefined;

  constructor(client: ApiClient, type: ResourceType<T>, options: InformerOptions<T, P>) {
    this.#client = client;
    this.#type = type;
    this.#options = options;
    this.#backoff = new Backoff({ initialMs: 200, maxMs: 30_000, ...options.backoff });
  }

  /** Mirrors until the signal is aborted; never rejects: failures are logged and tried again with back-off. */
  async run(signal: AbortSignal): Promise<void> {
    // One signal ends many informers and their requests: that many listeners are no leak.
    setMaxListeners(0, signal);
    while (!signal.aborted) {
      try {
        this.#resourceVersion ??= await this.#relist(signal);
        await this.#follow(this.#resourceVersion, signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.#recover(error, signal);
      }
    }
  }

  /** Whether a first list is complete. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Resolves after the first complete list; rejects with the signal's reason. */
  async synced(signal?: AbortSignal): Promise<void> {
    if (this.#hasSynced) return;
    await new Promise<void>((resolve, reject) => {
      const aborted = (): void => reject(signal?.reason as Error);
      if (signal?.aborted === true) aborted();
      signal?.addEventListener('abort', aborted, { once: true });
      this.#waiters.push(() => {
        signal?.removeEventListener('abort', aborted);
        resolve();
      });
    });
  }

  /** Why the server cannot be followed at the moment; undefined while all is well. */
  get failure(): unknown {
    return this.#failure;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string): P | undefined {
    return this.#entries.get(key)?.object;
  }

  *values(): IterableIterator<P> {
    for (const entry of this.#entries.values()) yield entry.object;
  }

  *entries(): IterableIterator<[string, P]> {
    for (const [key, entry] of this.#entries) yield [key, entry.object];
  }

  /** Begins with `added` for what is there already. Returns the function that ends it. */
  subscribe(handler: InformerHandler<P>): () => void {
    for (const [key, entry] of this.#entries) this.#guard(() => handler.added?.(entry.object, key));
    this.#handlers.add(handler);
    return () => this.#handlers.delete(handler);
  }

  /** Returns the version of the list, from which the watch goes on. */
  async #relist(signal: AbortSignal): Promise<string> {
    const { namespace, labelSelector, fieldSelector, protobuf } = this.#options;
    const { items: listed, resourceVersion } = await this.#client.listProjected(
      this.#type,
      { namespace, labelSelector, fieldSelector, signal, protobuf: protobuf?.message },
      (object, inProtobuf) =>
        this.#isNamed(object)
          ? [
              {
                key: keyOf(object),
                resourceVersion: versionOf(object) ?? '',
                projected: this.#project(object, inProtobuf ? protobuf?.project : undefined),
              },
            ]
          : [],
    );
    const items = listed.flat();
    const present = new Set(items.map((item) => item.key));
    // Deletions first: an address or port of a deleted object may belong to a new one by now.
    for (const key of this.#entries.keys()) if (!present.has(key)) this.#remove(key);
    for (const item of items) this.#store(item.key, item.resourceVersion, item.projected);
    this.#failure = undefined;
    this.#hasSynced = true;
    for (const waiter of this.#waiters.splice(0)) waiter();
    return resourceVersion;
  }

  async #follow(resourceVersion: string, signal: AbortSignal): Promise<void> {
    const { namespace, labelSelector, fieldSelector, idleTimeoutMs } = this.#options;
    const started = performance.now();
    let events = 0;
    const watch = this.#client.watch(this.#type, {
      namespace,
      labelSelector,
      fieldSelector,
      resourceVersion,
      signal,
      timeoutSeconds: Math.round(WATCH_SECONDS * (1 + Math.random())),
      idleTimeoutMs: idleTimeoutMs ?? IDLE_TIMEOUT_MS,
    });
    for await (const event of watch) {
      events += 1;
      if (events === 1) this.#healthy();
      this.#handle(event);
    }
    if (events === 0 && performance.now() - started < SHORT_WATCH_MS && !signal.aborted) {
      throw new FlatnetError(`the watch of ${this.#type.plural} ended at once`, {
        code: 'WATCH_TOO_SHORT',
        retryable: true,
      });
    }
    this.#healthy();
  }

  #healthy(): void {
    this.#backoff.reset();
    this.#failure = undefined;
  }

  #handle(event: WatchEvent<T>): void {
    const { object } = event;
    switch (event.type) {
      case 'ADDED':
      case 'MODIFIED':
        if (this.#isNamed(object)) {
          this.#store(keyOf(object), versionOf(object) ?? '', this.#project(object));
        }
        break;
      case 'DELETED':
        if (this.#isNamed(object)) this.#remove(keyOf(object));
        break;
      case 'BOOKMARK':
        break;
    }
    // Without one the watch would go on from anywhere.
    this.#resourceVersion = versionOf(object) ?? this.#resourceVersion;
  }

  /** What no name tells apart from others is passed over: it must not keep the rest from being followed. */
  #isNamed(object: T | null | undefined): object is T {
    const { name, namespace } = (object?.metadata ?? {}) as { name?: unknown; namespace?: unknown };
    if (typeof name === 'string' && name !== '' && typeof (namespace ?? '') === 'string') return true;
    this.#options.logger?.error(
      { resource: this.#type.plural },
      `one of the ${this.#type.plural} has no metadata.name and is passed over`,
    );
    return false;
  }

  async #recover(error: unknown, signal: AbortSignal): Promise<void> {
    const expired = hasStatus(error, 410);
    const silent = error instanceof FlatnetError && error.code === 'API_SILENT';
    if (expired) this.#resourceVersion = undefined;
    else if (!silent) this.#failure = error;
    const delayMs = this.#backoff.next();
    const fields = { resource: this.#type.plural, error: describeError(error), retryInMs: delayMs };
    if (expired || silent) this.#options.logger?.debug(fields, 'beginning anew');
    else this.#options.logger?.warn(fields, 'cannot follow the API server');
    await sleep(delayMs, signal);
  }

  #project(object: T, project: (object: T) => P = this.#options.project): Projected<P> {
    try {
      return { value: project(object) };
    } catch (error) {
      const fields = { resource: this.#type.plural, object: keyOf(object), error: describeError(error) };
      this.#options.logger?.error(fields, 'an object cannot be understood and is passed over');
      return undefined;
    }
  }

  #store(key: string, resourceVersion: string, projected: Projected<P>): void {
    if (projected === undefined) return;
    const object = projected.value;
    const old = this.#entries.get(key);
    // A list after a reconnect repeats what is known.
    if (old !== undefined && old.resourceVersion === resourceVersion && resourceVersion !== '') return;
    this.#entries.set(key, { resourceVersion, object });
    for (const handler of this.#handlers) {
      this.#guard(() => {
        if (old === undefined) handler.added?.(object, key);
        else handler.updated?.(object, old.object, key);
      });
    }
  }

  #remove(key: string): void {
    const old = this.#entries.get(key);
    if (old === undefined) return;
    this.#entries.delete(key);
    for (const handler of this.#handlers) this.#guard(() => handler.deleted?.(old.object, key));
  }

  /** A handler's mistake must not cost the others their events. */
  #guard(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#options.logger?.error({ resource: this.#type.plural, err: error }, 'a handler failed');
    }
  }
}

function versionOf(object: KubeObject | null | undefined): string | undefined {
  const version: unknown = object?.metadata?.resourceVersion;
  return typeof version === 'string' && version !== '' ? version : undefined;
}
