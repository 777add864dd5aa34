import { setMaxListeners } from 'node:events';
import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { Backoff, sleep } from '../timing/backoff.ts';

export interface WorkQueueOptions {
  /** For log lines. */
  readonly name: string;
  /** Brings what the key names to its desired state; called again, with back-off, when it throws. */
  readonly process: (key: string, signal: AbortSignal) => Promise<void>;
  /** Keys worked on at once; one key never twice. Default 1. */
  readonly concurrency?: number;
  readonly initialBackoffMs?: number;
  readonly maxBackoffMs?: number;
  readonly logger?: Logger | undefined;
}

/**
 * Keys to be worked on. A key that waits already is not queued twice; one that is added while being worked on is
 * worked on once more afterwards; one whose work failed comes back with its own back-off.
 */
export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #waiting = new Set<string>();
  readonly #active = new Set<string>();
  readonly #again = new Set<string>();
  readonly #backoffs = new Map<string, Backoff>();
  readonly #timers = new Map<string, AbortController>();
  #wake: (() => void) | undefined;

  constructor(options: WorkQueueOptions) {
    this.#options = options;
  }

  /** Keys that wait or are being worked on; those that wait for a time are not counted. */
  get depth(): number {
    return this.#waiting.size + this.#active.size;
  }

  add(key: string): void {
    if (this.#active.has(key)) this.#again.add(key);
    else this.#waiting.add(key);
    this.#wake?.();
  }

  /** As `add`, after a time; replaces an earlier time set for the key. */
  addAfter(key: string, delayMs: number): void {
    this.#timers.get(key)?.abort();
    const timer = new AbortController();
    this.#timers.set(key, timer);
    void sleep(delayMs, timer.signal).then(() => {
      if (timer.signal.aborted) return;
      this.#timers.delete(key);
      this.add(key);
    });
  }

  /** Works until the signal is aborted, then waits for the work under way; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    // Every idle worker listens for the end.
    setMaxListeners(0, signal);
    const workers = Array.from({ length: this.#options.concurrency ?? 1 }, () => this.#work(signal));
    await Promise.all(workers);
    for (const timer of this.#timers.values()) timer.abort();
  }

  async #work(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const key = this.#take();
      if (key === undefined) await this.#somethingToDo(signal);
      else await this.#processOne(key, signal);
    }
  }

  #take(): string | undefined {
    for (const key of this.#waiting) {
      this.#waiting.delete(key);
      this.#active.add(key);
      return key;
    }
    return undefined;
  }

  async #somethingToDo(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const others = this.#wake;
      const wake = (): void => {
        signal.removeEventListener('abort', wake);
        this.#wake = undefined;
        others?.();
        resolve();
      };
      this.#wake = wake;
      signal.addEventListener('abort', wake);
    });
  }

  async #processOne(key: string, signal: AbortSignal): Promise<void> {
    try {
      await this.#options.process(key, signal);
      this.#backoffs.delete(key);
    } catch (error) {
      if (!signal.aborted) this.#retryLater(key, error);
    } finally {
      this.#active.delete(key);
      if (this.#again.delete(key)) this.add(key);
    }
  }

  #retryLater(key: string, error: unknown): void {
    const backoff =
      this.#backoffs.get(key) ??
      new Backoff({
        initialMs: this.#options.initialBackoffMs ?? 20,
        maxMs: this.#options.maxBackoffMs ?? 30_000,
      });
    this.#backoffs.set(key, backoff);
    const delayMs = backoff.next();
    const code = error instanceof FlatnetError ? error.code : undefined;
    const fields = { queue: this.#options.name, key, code, error: describeError(error), retryInMs: delayMs };
    // Somebody else was faster: part of everyday life where several write one object.
    const level = code === 'HTTP_409' ? 'debug' : 'warn';
    this.#options.logger?.[level](fields, 'will be tried again');
    this.addAfter(key, delayMs);
  }
}
