import { performance } from 'node:perf_hooks';
import type { Event } from 'kubernetes-types/core/v1.js';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { ApiClient } from './api-client.ts';
import { hasStatus } from './api-error.ts';
import type { KubeObject } from './kube-object.ts';
import { EVENTS } from './resource-type.ts';

export interface EventRecorderOptions {
  /** `flatnet-agent`, `scheduler`: the `source.component` of the Events. */
  readonly component: string;
  /** `source.host`. */
  readonly host?: string | undefined;
  readonly signal: AbortSignal;
  readonly logger?: Logger | undefined;
}

interface Occurrence {
  readonly event: Event;
  count: number;
  last: string;
  /** Whether the server has the Event, so that a repeat is a patch. */
  isStored: boolean;
}

interface Budget {
  tokens: number;
  refilledAt: number;
}

/** As client-go: 25 Events at once about one object, then one in five minutes. */
const BURST = 25;
const REFILL_MS = 300_000;
/** Bounds memory; what fell out is told as a new Event. */
const REMEMBERED = 4096;

/** Tells a person who looks at an object what happened to it. Never floods: repeats are counted in one Event. */
export class EventRecorder {
  readonly #client: ApiClient;
  readonly #options: EventRecorderOptions;
  readonly #occurrences = new Map<string, Occurrence>();
  readonly #budgets = new Map<string, Budget>();
  readonly #unsent = new Set<string>();
  #sending = false;

  constructor(client: ApiClient, options: EventRecorderOptions) {
    this.#client = client;
    this.#options = options;
  }

  /** Queues the Event and returns at once; one that cannot be delivered is logged and dropped. */
  record(object: KubeObject, type: 'Normal' | 'Warning', reason: string, message: string): void {
    const { namespace = '', name = '', uid = '' } = object.metadata ?? {};
    const about = [object.kind, namespace, name, uid].join('/');
    if (!this.#withinBudget(about)) return;
    const key = [about, type, reason, message].join('\n');
    const now = new Date().toISOString().replace(/\.\d+/, '');
    const known = this.#occurrences.get(key);
    if (known === undefined) {
      const event = this.#event(object, type, reason, message);
      remember(this.#occurrences, key, { event, count: 1, last: now, isStored: false });
    } else {
      known.count += 1;
      known.last = now;
    }
    this.#unsent.add(key);
    void this.#send();
  }

  async #send(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    for (const key of this.#unsent) {
      this.#unsent.delete(key);
      const occurrence = this.#occurrences.get(key);
      if (occurrence === undefined || this.#options.signal.aborted) continue;
      try {
        await this.#deliver(occurrence);
      } catch (error) {
        const { reason, message } = occurrence.event;
        this.#options.logger?.debug({ reason, message, error: describeError(error) }, 'Event not delivered');
      }
    }
    this.#sending = false;
  }

  async #deliver(occurrence: Occurrence): Promise<void> {
    const { count, last: lastTimestamp, event } = occurrence;
    const { signal } = this.#options;
    const ref = { name: event.metadata.name ?? '', namespace: event.metadata.namespace };
    if (occurrence.isStored) {
      try {
        await this.#client.patch(EVENTS, ref, { type: 'merge', body: { count, lastTimestamp } }, { signal });
        return;
      } catch (error) {
        // Events expire on the server after an hour.
        if (!hasStatus(error, 404)) throw error;
      }
    }
    const fresh = { ...event, count, firstTimestamp: lastTimestamp, lastTimestamp };
    await this.#client.create(EVENTS, fresh, { signal });
    occurrence.isStored = true;
  }

  #event(object: KubeObject, type: string, reason: string, message: string): Event {
    const metadata = object.metadata ?? {};
    const namespace = metadata.namespace ?? 'default';
    const { component, host } = this.#options;
    const unique = `${Date.now().toString(16)}${Math.floor(Math.random() * 2 ** 20).toString(16)}`;
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: `${metadata.name ?? ''}.${unique}`, namespace },
      involvedObject: {
        ...(object.apiVersion === undefined ? {} : { apiVersion: object.apiVersion }),
        ...(object.kind === undefined ? {} : { kind: object.kind }),
        ...(metadata.name === undefined ? {} : { name: metadata.name }),
        ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
        ...(metadata.uid === undefined ? {} : { uid: metadata.uid }),
        ...(metadata.resourceVersion === undefined ? {} : { resourceVersion: metadata.resourceVersion }),
      },
      type,
      reason,
      // The API refuses messages longer than 1 KiB.
      message: message.slice(0, 1000),
      source: { component, ...(host === undefined ? {} : { host }) },
      reportingComponent: component,
      reportingInstance: host ?? '',
    };
  }

  #withinBudget(about: string): boolean {
    const now = performance.now();
    const budget = this.#budgets.get(about) ?? { tokens: BURST, refilledAt: now };
    const earned = Math.floor((now - budget.refilledAt) / REFILL_MS);
    if (earned > 0) {
      budget.tokens = Math.min(BURST, budget.tokens + earned);
      budget.refilledAt += earned * REFILL_MS;
    }
    remember(this.#budgets, about, budget);
    if (budget.tokens === 0) return false;
    budget.tokens -= 1;
    return true;
  }
}

/** Keeps the most recently remembered entries; a Map iterates in order of insertion. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= REMEMBERED) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
