import type { Logger } from '../log/logger.ts';
import type { ApiClient } from './api-client.ts';
import type { KubeObject } from './kube-object.ts';
import type { ResourceType } from './resource-type.ts';

export interface InformerOptions<T extends KubeObject, P> {
  /** Keeps only what is needed in memory. Must not keep references to the whole object. */
  readonly project: (object: T) => P;
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly logger?: Logger | undefined;
  /** Without a word from the server (not even a bookmark) for so long, the watch is begun anew. */
  readonly idleTimeoutMs?: number | undefined;
}

/** Called synchronously, in the order of the server's history; must not throw. Keys are `namespace/name`. */
export interface InformerHandler<P> {
  added?(object: P, key: string): void;
  updated?(object: P, old: P, key: string): void;
  deleted?(old: P, key: string): void;
}

/**
 * The server's objects of one type, mirrored: a list, then a watch; whatever is missed while disconnected is
 * found by the next list and told to the handlers, deletions too.
 */
export class Informer<T extends KubeObject, P> {
  constructor(client: ApiClient, type: ResourceType<T>, options: InformerOptions<T, P>) {
    void [client, type, options];
  }

  /** Mirrors until the signal is aborted; never rejects: failures are logged and tried again with back-off. */
  async run(signal: AbortSignal): Promise<void> {
    void signal;
  }

  /** Whether a first list is complete. */
  get hasSynced(): boolean {
    return false;
  }

  /** Resolves after the first complete list; rejects with the signal's reason. */
  async synced(signal?: AbortSignal): Promise<void> {
    void signal;
  }

  /** Why the server cannot be followed at the moment; undefined while all is well. */
  get failure(): unknown {
    return undefined;
  }

  get size(): number {
    return 0;
  }

  get(key: string): P | undefined {
    void key;
    return undefined;
  }

  values(): IterableIterator<P> {
    return new Map<string, P>().values();
  }

  entries(): IterableIterator<[string, P]> {
    return new Map<string, P>().entries();
  }

  /** Begins with `added` for what is there already. Returns the function that ends it. */
  subscribe(handler: InformerHandler<P>): () => void {
    void handler;
    return () => undefined;
  }
}
