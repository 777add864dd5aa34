import type { KubeObject } from '../json/kube-object.ts';
import { EventHistory, type HistoryLimits, type StoreEvent } from './event-history.ts';
import type { RevisionCounter } from './revision-counter.ts';
import { type StoredObject, toStored } from './stored-object.ts';

export type StoreListener = (event: StoreEvent) => void;

/** Fields that a field selector may name, besides metadata.name and metadata.namespace. */
export type FieldExtractor = (object: KubeObject) => Record<string, string>;

const DEFAULT_LIMITS: HistoryLimits = { maxEvents: 10_000, maxCharacters: 32 * 1024 * 1024 };

/** The objects of one kind. Every operation is synchronous and costs what the change costs. */
export class ObjectStore {
  readonly #revisions: RevisionCounter;
  readonly #fieldsOf: FieldExtractor;
  readonly #objects = new Map<string, StoredObject>();
  /** Keys in order; a namespace's objects stand together, so it is the namespace index as well. */
  readonly #keys: string[] = [];
  readonly #history: EventHistory;
  readonly #listeners = new Set<StoreListener>();

  constructor(revisions: RevisionCounter, fieldsOf: FieldExtractor, limits: HistoryLimits = DEFAULT_LIMITS) {
    this.#revisions = revisions;
    this.#fieldsOf = fieldsOf;
    this.#history = new EventHistory(limits, revisions.current);
  }

  get size(): number {
    return this.#objects.size;
  }

  /** The revision that a list made now stands for. */
  get revision(): number {
    return this.#revisions.current;
  }

  get(key: string): StoredObject | undefined {
    return this.#objects.get(key);
  }

  /** Stores the object under a new revision, which it also writes into the object. */
  put(object: KubeObject): StoredObject {
    const revision = this.#revisions.next();
    const stored = toStored(object, revision, this.#fieldsOf(object));
    const previous = this.#objects.get(stored.key);
    if (previous === undefined) this.#keys.splice(this.#position(stored.key), 0, stored.key);
    this.#objects.set(stored.key, stored);
    this.#publish({
      type: previous === undefined ? 'ADDED' : 'MODIFIED',
      revision,
      object: stored,
      previous,
    });
    return stored;
  }

  /** Removes the object; `last` is its final state, which the DELETED event shows. */
  delete(key: string, last: KubeObject): StoredObject {
    const revision = this.#revisions.next();
    const stored = toStored(last, revision, this.#fieldsOf(last));
    const previous = this.#objects.get(key);
    this.#objects.delete(key);
    const position = this.#position(key);
    if (this.#keys[position] === key) this.#keys.splice(position, 1);
    this.#publish({ type: 'DELETED', revision, object: stored, previous });
    return stored;
  }

  #publish(event: StoreEvent): void {
    this.#history.append(event);
    for (const listener of this.#listeners) listener(event);
  }

  /** Objects in order of key, of one namespace or (with '') of all, after the key `after`. */
  *objects(namespace = '', after = ''): Generator<StoredObject> {
    const prefix = namespace === '' ? '' : `${namespace}/`;
    let position = this.#position(after > prefix ? after : prefix);
    if (after !== '' && this.#keys[position] === after) position += 1;
    for (; position < this.#keys.length; position += 1) {
      const key = this.#keys[position] ?? '';
      if (!key.startsWith(prefix)) return;
      const stored = this.#objects.get(key);
      if (stored !== undefined) yield stored;
    }
  }

  /** Index of the first key that is not before `key`. */
  #position(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#keys[middle] ?? '') < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Whether a watch from `revision` would miss nothing; a revision of the future is not one of this server's. */
  covers(revision: number): boolean {
    return revision <= this.#revisions.current && this.#history.covers(revision);
  }

  eventsSince(revision: number): StoreEvent[] {
    return this.#history.since(revision);
  }

  /** Calls the listener, synchronously, with every change from now on; returns how to stop. */
  subscribe(listener: StoreListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
