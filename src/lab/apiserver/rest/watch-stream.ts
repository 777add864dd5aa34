import { type Call, statusOf } from '../http/call.ts';
import { expired } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import type { StoreEvent } from '../store/event-history.ts';
import { apiVersionOf } from '../kinds/resource-definition.ts';
import type { Matcher } from '../store/selectors.ts';
import type { ListQuery } from './list-query.ts';
import type { Renderer } from './renderer.ts';

const BOOKMARK_MS = 60_000;
/** A watcher that has this much unread is cut off; it lists anew. */
const MAX_UNREAD_BYTES = 64 * 1024 * 1024;
const MIN_TIMEOUT_MS = 1_800_000;

/** Lines of the event that is being fanned out: written once for all watchers that want the same text. */
class LineCache {
  #event: StoreEvent | undefined;
  readonly #lines = new Map<string, Buffer>();

  line(event: StoreEvent, type: string, renderer: Renderer, stored: StoreEvent['object']): Buffer {
    if (this.#event !== event) {
      this.#event = event;
      this.#lines.clear();
    }
    const key = `${type} ${renderer.key}`;
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = Buffer.from(`{"type":"${type}","object":${renderer.object(stored)}}\n`);
      this.#lines.set(key, line);
    }
    return line;
  }
}

const cache = new LineCache();

/** What a change is for a watcher with selectors: an object that comes to match is ADDED, one that ceases to, DELETED. */
function watchedType(
  event: StoreEvent,
  namespace: string,
  matches: Matcher | undefined,
): StoreEvent['type'] | undefined {
  if (namespace !== '' && event.object.namespace !== namespace) return undefined;
  if (matches === undefined) return event.type;
  const before = event.previous !== undefined && matches(event.previous);
  if (event.type === 'DELETED') return before ? 'DELETED' : undefined;
  const after = matches(event.object);
  if (after) return before ? 'MODIFIED' : 'ADDED';
  return before ? 'DELETED' : undefined;
}

/** Serves one watch until the client leaves, the timeout is over or `signal` aborts. */
export function serveWatch(
  call: Call,
  renderer: Renderer,
  namespace: string,
  query: ListQuery,
  signal: AbortSignal,
): void {
  new WatchStream(call, renderer, namespace, query).start(signal);
}

class WatchStream {
  readonly #call: Call;
  readonly #renderer: Renderer;
  readonly #definition: ResourceDefinition;
  readonly #namespace: string;
  readonly #query: ListQuery;
  #stop: (() => void) | undefined;

  constructor(call: Call, renderer: Renderer, namespace: string, query: ListQuery) {
    this.#call = call;
    this.#renderer = renderer;
    this.#definition = renderer.definition;
    this.#namespace = namespace;
    this.#query = query;
  }

  start(signal: AbortSignal): void {
    const { response } = this.#call;
    const { store } = this.#definition;
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
    // The head must reach the client even when nothing happens for long.
    response.flushHeaders();
    const revision = this.#query.revision ?? 0;
    const initial = this.#query.sendInitialEvents || revision === 0;
    if (!initial && !store.covers(revision)) {
      this.#end(`too old resource version: ${revision} (${store.revision})`);
      return;
    }
    if (initial) this.#sendInitial();
    else for (const event of store.eventsSince(revision)) this.#deliver(event);
    this.#listen(signal);
  }

  #listen(signal: AbortSignal): void {
    const unsubscribe = this.#definition.store.subscribe((event) => this.#deliver(event));
    const timeoutMs =
      this.#query.timeoutSeconds === undefined || this.#query.timeoutSeconds === 0
        ? MIN_TIMEOUT_MS * (1 + Math.random())
        : this.#query.timeoutSeconds * 1000;
    const timeout = setTimeout(() => this.#finish(), Math.min(timeoutMs, 2 ** 31 - 1));
    const bookmarks = this.#query.bookmarks
      ? setInterval(() => this.#bookmark(false), BOOKMARK_MS)
      : undefined;
    const onAbort = (): void => this.#finish();
    signal.addEventListener('abort', onAbort, { once: true });
    this.#stop = () => {
      unsubscribe();
      clearTimeout(timeout);
      clearInterval(bookmarks);
      signal.removeEventListener('abort', onAbort);
      this.#stop = undefined;
    };
    this.#call.response.on('close', () => this.#stop?.());
    this.#call.response.on('error', () => this.#stop?.());
    if (signal.aborted) this.#finish();
  }

  #sendInitial(): void {
    for (const stored of this.#definition.store.objects(this.#namespace)) {
      if (this.#query.matches?.(stored) === false) continue;
      this.#call.response.write(`{"type":"ADDED","object":${this.#renderer.object(stored)}}\n`);
    }
    if (this.#query.sendInitialEvents && this.#query.bookmarks) this.#bookmark(true);
  }

  #deliver(event: StoreEvent): void {
    const type = watchedType(event, this.#namespace, this.#query.matches);
    if (type === undefined) return;
    const { response } = this.#call;
    response.write(cache.line(event, type, this.#renderer, event.object));
    if (response.writableLength > MAX_UNREAD_BYTES) {
      this.#stop?.();
      response.destroy();
    }
  }

  #bookmark(initialEventsEnd: boolean): void {
    const metadata = {
      resourceVersion: String(this.#definition.store.revision),
      creationTimestamp: null,
      ...(initialEventsEnd ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}),
    };
    const object =
      this.#renderer.rendering.as === 'table'
        ? { kind: 'Table', apiVersion: 'meta.k8s.io/v1', metadata, columnDefinitions: [], rows: [] }
        : { kind: this.#definition.kind, apiVersion: apiVersionOf(this.#definition), metadata };
    this.#call.response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
  }

  /** A regular end; the last bookmark spares the client a new list. */
  #finish(): void {
    if (this.#stop === undefined) return;
    this.#stop();
    if (this.#query.bookmarks) this.#bookmark(false);
    this.#call.response.end();
  }

  #end(why: string): void {
    const object = statusOf(expired(why));
    this.#call.response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
  }
}
