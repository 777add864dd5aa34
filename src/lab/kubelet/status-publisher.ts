import type { PodStatus } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../../cluster/api-client.ts';
import { hasStatus } from '../../cluster/api-error.ts';
import type { ObjectRef } from '../../cluster/kube-object.ts';
import { PODS } from '../../cluster/resource-type.ts';
import { Backoff, sleep } from '../../timing/backoff.ts';

/** Writes a pod's status: one request at a time, and only what is newest. */
export class StatusPublisher {
  readonly #client: ApiClient;
  readonly #ref: ObjectRef;
  readonly #status: () => PodStatus;
  readonly #signal: AbortSignal;
  #wanted = false;
  #running: Promise<void> | undefined;
  #published = '';

  /** `status` computes the status as it is at the moment of the request. */
  constructor(client: ApiClient, ref: ObjectRef, status: () => PodStatus, signal: AbortSignal) {
    this.#client = client;
    this.#ref = ref;
    this.#status = status;
    this.#signal = signal;
  }

  request(): void {
    this.#wanted = true;
    this.#running ??= this.#publish().finally(() => (this.#running = undefined));
  }

  /** Resolves when everything requested so far is written. */
  async flush(): Promise<void> {
    this.request();
    while (this.#running !== undefined) await this.#running;
  }

  async #publish(): Promise<void> {
    const backoff = new Backoff({ initialMs: 100, maxMs: 5000 });
    // What changes in the same turn goes into one request.
    await Promise.resolve();
    while (this.#wanted && !this.#signal.aborted) {
      this.#wanted = false;
      const status = this.#status();
      const text = JSON.stringify(status);
      if (text === this.#published) continue;
      try {
        await this.#client.patch(
          PODS,
          this.#ref,
          { type: 'strategic', body: { status: explicit(status) } },
          { subresource: 'status' },
        );
        this.#published = text;
      } catch (error) {
        if (hasStatus(error, 404)) return;
        this.#wanted = true;
        await sleep(backoff.next(), this.#signal);
      }
    }
  }
}

/** Conditions are merged by type: what is no longer said has to be taken back. */
function explicit(status: PodStatus): object {
  const conditions = (status.conditions ?? []).map((condition) => ({
    reason: null,
    message: null,
    ...condition,
  }));
  return { ...status, conditions };
}
