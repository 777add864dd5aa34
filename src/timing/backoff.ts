import { setTimeout as delay } from 'node:timers/promises';

export interface BackoffOptions {
  /** First delay, milliseconds. */
  readonly initialMs?: number;
  /** Upper bound of a delay before jitter, milliseconds. */
  readonly maxMs?: number;
  readonly random?: () => number;
}

/**
 * Exponential back-off with full-range jitter of 50 to 100 % of the nominal delay: many nodes that lose the
 * same API server do not come back in step.
 */
export class Backoff {
  readonly #initialMs: number;
  readonly #maxMs: number;
  readonly #random: () => number;
  #failures = 0;

  constructor(options: BackoffOptions = {}) {
    this.#initialMs = options.initialMs ?? 100;
    this.#maxMs = options.maxMs ?? 30_000;
    this.#random = options.random ?? Math.random;
  }

  /** Milliseconds to wait before the next try; doubles with each call until `reset`. */
  next(): number {
    const nominal = Math.min(this.#maxMs, this.#initialMs * 2 ** Math.min(this.#failures, 30));
    this.#failures += 1;
    return Math.round(nominal * (0.5 + this.#random() / 2));
  }

  reset(): void {
    this.#failures = 0;
  }
}

/** Resolves after `ms`, or at once when the signal is aborted (never rejects: the caller looks at the signal). */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch {
    // Aborted: the owner of the signal is shutting down.
  }
}

export interface RetryOptions extends BackoffOptions {
  readonly signal?: AbortSignal;
  /** Total tries; unlimited when absent. */
  readonly attempts?: number;
  readonly shouldRetry?: (error: unknown) => boolean;
  readonly onRetry?: (error: unknown, delayMs: number) => void;
  /** A wait that the error itself prescribes (the header Retry-After), in place of the back-off's. */
  readonly prescribedDelayMs?: (error: unknown) => number | undefined;
}

/** Calls `action` until it succeeds, the error is not to be retried, tries run out or the signal aborts. */
export async function retry<T>(action: () => Promise<T>, options: RetryOptions = {}): Promise<T> {
  const backoff = new Backoff(options);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await action();
    } catch (error) {
      const spent = options.attempts !== undefined && attempt >= options.attempts;
      if (spent || isAborted(options.signal) || options.shouldRetry?.(error) === false) throw error;
      const delayMs = options.prescribedDelayMs?.(error) ?? backoff.next();
      options.onRetry?.(error, delayMs);
      await sleep(delayMs, options.signal);
      if (isAborted(options.signal)) throw error;
    }
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}
