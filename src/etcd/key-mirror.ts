import { setMaxListeners } from 'node:events';
import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { Backoff, sleep } from '../timing/backoff.ts';
import type { EtcdClient } from './etcd-client.ts';
import { isEtcdError } from './etcd-error.ts';
import type { KeyList, KeyValue } from './key-value.ts';
import type { WatchEvent } from './watch.ts';

/** Called synchronously, in the order of the store's history; must not throw. */
export interface KeyMirrorHandler {
  put(keyValue: KeyValue): void;
  deleted(old: KeyValue): void;
  /** A list has been told in full: the first one, and each later one that had to be made. */
  listed(): void;
  /** Throws when a list cannot be what it should be, and is not to be taken over; it is asked for again later. */
  refuse?(list: KeyList): void;
}

/** From when etcd has come back with an older state until what it no longer has counts as gone. */
const GRACE_MS = 30_000;

/**
 * The keys under a prefix: a list, then a watch. After a lost connection the watch goes on where it was; when etcd no
 * longer has that revision (compaction), or has gone back behind it (an old copy of the database, or an empty one),
 * everything is listed again and the difference is told, deletions too; those of the latter case after a while, in which
 * their owners may write them again.
 */
export class KeyMirror {
  readonly #client: EtcdClient;
  readonly #prefix: string;
  readonly #handler: KeyMirrorHandler;
  readonly #logger: Logger;
  readonly #graceMs: number;
  readonly #keys = new Map<string, KeyValue>();
  readonly #backoff = new Backoff({ initialMs: 100, maxMs: 5000 });
  /** Undefined until a list is complete, and when etcd cannot go on from there. */
  #revision: number | undefined;
  #hasSynced = false;
  #failure: unknown;
  /** The next list is of an etcd that has gone back. */
  #hasGoneBack = false;

  constructor(
    client: EtcdClient,
    prefix: string,
    handler: KeyMirrorHandler,
    logger: Logger,
    graceMs = GRACE_MS,
  ) {
    this.#client = client;
    this.#prefix = prefix;
    this.#handler = handler;
    this.#logger = logger;
    this.#graceMs = graceMs;
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Why etcd cannot be followed at the moment. */
  get failure(): unknown {
    return this.#failure;
  }

  get(key: string): KeyValue | undefined {
    return this.#keys.get(key);
  }

  values(): IterableIterator<KeyValue> {
    return this.#keys.values();
  }

  /** Until the signal is aborted; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    setMaxListeners(0, signal);
    while (!signal.aborted) {
      try {
        this.#revision ??= await this.#relist(signal);
        await this.#follow(this.#revision, signal);
      } catch (error) {
        if (signal.aborted) return;
        await this.#recover(error, signal);
      }
    }
  }

  async #relist(signal: AbortSignal): Promise<number | undefined> {
    const list = await this.#client.list(this.#prefix);
    if (signal.aborted) return undefined;
    this.#handler.refuse?.(list);
    const listed = new Set(list.keys.map(({ key }) => key));
    const missing = [...this.#keys].filter(([key]) => !listed.has(key));
    if (this.#hasGoneBack) void this.#deleteLater(missing, signal);
    else for (const [key, old] of missing) this.#delete(key, old);
    this.#hasGoneBack = false;
    for (const keyValue of list.keys) {
      if (this.#keys.get(keyValue.key)?.modRevision !== keyValue.modRevision) this.#put(keyValue);
    }
    this.#hasSynced = true;
    this.#recovered();
    this.#handler.listed();
    return list.revision;
  }

  async #follow(from: number | undefined, signal: AbortSignal): Promise<void> {
    if (from === undefined) return;
    const range = { key: this.#prefix, isPrefix: true };
    for await (const { events, revision } of this.#client.watch(range, from + 1, signal)) {
      this.#recovered();
      for (const event of events) this.#apply(event);
      this.#revision = revision;
    }
  }

  #apply(event: WatchEvent): void {
    if (event.type === 'put') {
      this.#put(event.keyValue);
      return;
    }
    const old = this.#keys.get(event.key);
    if (old !== undefined) this.#delete(event.key, old);
  }

  #put(keyValue: KeyValue): void {
    this.#keys.set(keyValue.key, keyValue);
    this.#handler.put(keyValue);
  }

  /** Those that nobody has written in the meantime. */
  async #deleteLater(missing: readonly (readonly [string, KeyValue])[], signal: AbortSignal): Promise<void> {
    if (missing.length === 0) return;
    this.#logger.warn(
      { keys: missing.length, graceMs: this.#graceMs },
      'etcd has lost keys; they stay for a while',
    );
    await sleep(this.#graceMs, signal);
    if (signal.aborted) return;
    for (const [key, old] of missing) {
      if (this.#keys.get(key) === old) this.#delete(key, old);
    }
  }

  #delete(key: string, old: KeyValue): void {
    this.#keys.delete(key);
    this.#handler.deleted(old);
  }

  #recovered(): void {
    this.#backoff.reset();
    if (this.#failure !== undefined) this.#logger.info({ endpoint: this.#client.endpoint }, 'etcd is back');
    this.#failure = undefined;
  }

  async #recover(error: unknown, signal: AbortSignal): Promise<void> {
    if (isEtcdError(error, 'ETCD_COMPACTED') || isEtcdError(error, 'ETCD_REWOUND')) {
      this.#logger.info({ error: describeError(error) }, 'etcd cannot go on from there: listing again');
      this.#revision = undefined;
      this.#hasGoneBack ||= isEtcdError(error, 'ETCD_REWOUND');
    } else {
      // The first word of an outage; what follows says the same again.
      const known = this.#failure instanceof FlatnetError && this.#failure.message === describeText(error);
      if (!known) this.#logger.warn({ error: describeError(error) }, 'etcd cannot be followed; trying again');
      this.#failure = error;
    }
    await sleep(this.#backoff.next(), signal);
  }
}

const describeText = (error: unknown): string => (error instanceof Error ? error.message : String(error));
