import type { ApiClient } from '../../cluster/api-client.ts';
import { Informer } from '../../cluster/informer.ts';
import { keyOf, type KubeObject } from '../../cluster/kube-object.ts';
import type { ResourceType } from '../../cluster/resource-type.ts';
import type { Logger } from '../../log/logger.ts';

/** Values under which an object can be found again, for instance the uid of its controller. */
export type Indexer<T> = (object: T) => readonly string[];

export type ViewChange<T> = (now: T | undefined, before: T | undefined) => void;

/** A write that the watch has not confirmed after so long was overtaken by a deletion that nobody saw. */
const UNCONFIRMED_MS = 30_000;

/**
 * The objects of one type as the controllers see them: the informer's, and on top what the controllers have
 * written themselves but the watch has not brought back yet. Without the second part a controller that looks
 * again too early creates its pods twice.
 */
export class ObjectView<T extends KubeObject> {
  readonly informer: Informer<T, T>;
  readonly #objects = new Map<string, T>();
  readonly #indexer: Indexer<T>;
  readonly #index = new Map<string, Set<string>>();
  readonly #unconfirmed = new Map<string, number>();
  readonly #listeners: ViewChange<T>[] = [];

  constructor(
    client: ApiClient,
    type: ResourceType<T>,
    logger: Logger,
    options: { readonly indexer?: Indexer<T>; readonly fieldSelector?: string } = {},
  ) {
    this.#indexer = options.indexer ?? ((): string[] => []);
    const { fieldSelector } = options;
    this.informer = new Informer<T, T>(client, type, {
      project: withoutManagedFields,
      logger,
      fieldSelector,
    });
    this.informer.subscribe({
      added: (object) => this.#confirmed(object, undefined),
      updated: (object, old) => this.#confirmed(object, old),
      deleted: (old) => this.#gone(old),
    });
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  get size(): number {
    return this.#objects.size;
  }

  /** The objects that the indexer files under this value. */
  find(value: string): T[] {
    const found: T[] = [];
    for (const key of this.#index.get(value) ?? []) {
      const object = this.#objects.get(key);
      if (object !== undefined) found.push(object);
    }
    return found;
  }

  /** Called for every change that the server reports; begins with what is there. */
  onChange(listener: ViewChange<T>): void {
    for (const object of this.#objects.values()) listener(object, undefined);
    this.#listeners.push(listener);
  }

  /** Takes in what the server answered to a write, before the watch tells of it. */
  written(object: T): void {
    const key = keyOf(object);
    const known = this.#objects.get(key);
    if (known !== undefined && isNewer(known, object)) return;
    this.#set(key, withoutManagedFields(object));
    this.#unconfirmed.set(key, Date.now());
    this.#sweep();
  }

  #confirmed(object: T, old: T | undefined): void {
    const key = keyOf(object);
    const known = this.#objects.get(key);
    if (known === undefined || !isNewer(known, object)) {
      this.#unconfirmed.delete(key);
      this.#set(key, object);
    }
    for (const listener of this.#listeners) listener(object, old);
  }

  #gone(old: T): void {
    const key = keyOf(old);
    const known = this.#objects.get(key);
    // A successor of the same name may have been written already.
    if (known !== undefined && known.metadata?.uid === old.metadata?.uid) this.#drop(key);
    for (const listener of this.#listeners) listener(undefined, old);
  }

  #sweep(): void {
    const now = Date.now();
    for (const [key, since] of this.#unconfirmed) {
      if (now - since < UNCONFIRMED_MS) return;
      this.#unconfirmed.delete(key);
      const object = this.informer.get(key);
      if (object === undefined) this.#drop(key);
      else this.#set(key, object);
    }
  }

  #set(key: string, object: T): void {
    this.#drop(key);
    this.#objects.set(key, object);
    for (const value of this.#indexer(object)) {
      const keys = this.#index.get(value);
      if (keys === undefined) this.#index.set(value, new Set([key]));
      else keys.add(key);
    }
  }

  #drop(key: string): void {
    const object = this.#objects.get(key);
    if (object === undefined) return;
    this.#objects.delete(key);
    for (const value of this.#indexer(object)) {
      const keys = this.#index.get(value);
      keys?.delete(key);
      if (keys?.size === 0) this.#index.delete(value);
    }
  }
}

/** Resource versions of one server grow as numbers; `a` is later than `b`. */
function isNewer(a: KubeObject, b: KubeObject): boolean {
  return BigInt(a.metadata?.resourceVersion ?? 0) > BigInt(b.metadata?.resourceVersion ?? 0);
}

/** Field managers are half of an object's size and no controller's business. */
function withoutManagedFields<T extends KubeObject>(object: T): T {
  delete object.metadata?.managedFields;
  return object;
}
