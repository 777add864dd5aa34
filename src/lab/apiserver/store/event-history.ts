import type { StoredObject } from './stored-object.ts';

/** One change. `object` of a DELETED is the last state with the revision of the deletion. */
export interface StoreEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly revision: number;
  readonly object: StoredObject;
  readonly previous: StoredObject | undefined;
}

export interface HistoryLimits {
  readonly maxEvents: number;
  /** Of the objects' text. */
  readonly maxCharacters: number;
}

/** The latest changes of one kind in order of revision, bounded in number and size. */
export class EventHistory {
  readonly #limits: HistoryLimits;
  #events: StoreEvent[] = [];
  #first = 0;
  #characters = 0;
  /** Revision of the newest event that is no longer there: a watch from before it cannot be served. */
  #forgotten: number;

  /** `start` is the revision before the first event. */
  constructor(limits: HistoryLimits, start: number) {
    this.#limits = limits;
    this.#forgotten = start;
  }

  append(event: StoreEvent): void {
    this.#events.push(event);
    this.#characters += event.object.text.length;
    while (this.#length > this.#limits.maxEvents || this.#characters > this.#limits.maxCharacters) {
      if (this.#length <= 1) break;
      this.#dropFirst();
    }
  }

  get #length(): number {
    return this.#events.length - this.#first;
  }

  #dropFirst(): void {
    const event = this.#events[this.#first];
    if (event === undefined) return;
    this.#characters -= event.object.text.length;
    this.#forgotten = event.revision;
    this.#first += 1;
    if (this.#first > 1024 && this.#first > this.#events.length / 2) {
      this.#events = this.#events.slice(this.#first);
      this.#first = 0;
    }
  }

  /** Whether every change after `revision` is still known. */
  covers(revision: number): boolean {
    return revision >= this.#forgotten;
  }

  /** The changes after `revision`, oldest first. */
  since(revision: number): StoreEvent[] {
    let low = this.#first;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#events[middle]?.revision ?? 0) <= revision) low = middle + 1;
      else high = middle;
    }
    return this.#events.slice(low);
  }
}
