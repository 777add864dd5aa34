import type { ApiClient } from '../cluster/api-client.ts';
import { ApiError } from '../cluster/api-error.ts';
import { keyOf, type KubeObject } from '../cluster/kube-object.ts';
import type { ResourceType } from '../cluster/resource-type.ts';
import type { WatchEvent } from '../cluster/watch.ts';

interface Options {
  readonly signal?: AbortSignal;
}

interface Collection {
  readonly objects: Map<string, KubeObject>;
  readonly watchers: Set<(event: WatchEvent<KubeObject>) => void>;
}

/** An API server in memory, for tests: what the proxy lists and watches. Types that it was not given are unknown. */
export class FakeApi {
  readonly #collections = new Map<string, Collection>();
  #version = 0;

  constructor(types: readonly ResourceType[]) {
    for (const { plural } of types) {
      this.#collections.set(plural, { objects: new Map(), watchers: new Set() });
    }
  }

  /** As far as informers need one. */
  get client(): ApiClient {
    const part = {
      list: async (type: ResourceType, options: Options) => this.#list(type, options, (object) => object),
      listProjected: async (type: ResourceType, options: Options, project: (object: KubeObject) => unknown) =>
        this.#list(type, options, project),
      watch: (type: ResourceType, options: Options) => this.#watch(type, options),
      create: async (type: ResourceType, object: KubeObject) => Promise.resolve(this.set(type, object)),
    };
    return part as unknown as ApiClient;
  }

  set(type: ResourceType, object: KubeObject): void {
    this.#version += 1;
    const made = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } };
    const { objects, watchers } = this.#collection(type);
    const event = { type: objects.has(keyOf(made)) ? 'MODIFIED' : 'ADDED', object: made } as const;
    objects.set(keyOf(made), made);
    for (const tell of watchers) tell(event);
  }

  objects(type: ResourceType): KubeObject[] {
    return [...this.#collection(type).objects.values()];
  }

  delete(type: ResourceType, key: string): void {
    const { objects, watchers } = this.#collection(type);
    const object = objects.get(key);
    objects.delete(key);
    if (object !== undefined) for (const tell of watchers) tell({ type: 'DELETED', object });
  }

  /** How many follow the type. */
  watchers(type: ResourceType): number {
    return this.#collection(type).watchers.size;
  }

  #collection({ plural }: ResourceType): Collection {
    const collection = this.#collections.get(plural);
    if (collection === undefined) throw new ApiError(`cannot list ${plural}`, 404, {});
    return collection;
  }

  async #list<P>(
    type: ResourceType,
    _: Options,
    project: (object: KubeObject) => P,
  ): Promise<{ items: P[]; resourceVersion: string }> {
    await new Promise(setImmediate);
    const items = [...this.#collection(type).objects.values()].map((object) => project(object));
    return { items, resourceVersion: String(this.#version) };
  }

  async *#watch(type: ResourceType, { signal }: Options): AsyncGenerator<WatchEvent<KubeObject>> {
    const { watchers } = this.#collection(type);
    const queue = new EventQueue();
    const tell = (event: WatchEvent<KubeObject>): void => queue.push(event);
    const end = (): void => queue.push(undefined);
    watchers.add(tell);
    if (signal?.aborted === true) end();
    signal?.addEventListener('abort', end);
    try {
      for (let event = await queue.next(); event !== undefined; event = await queue.next()) yield event;
    } finally {
      watchers.delete(tell);
    }
  }
}

/** Undefined is the end. */
class EventQueue {
  readonly #events: (WatchEvent<KubeObject> | undefined)[] = [];
  #wake: (() => void) | undefined;

  push(event: WatchEvent<KubeObject> | undefined): void {
    this.#events.push(event);
    this.#wake?.();
  }

  async next(): Promise<WatchEvent<KubeObject> | undefined> {
    if (this.#events.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.#events.shift();
  }
}
