import { releaseMemory } from '../kernel/libc/release-memory.ts';
import { sleep } from '../timing/backoff.ts';

/** So long nothing must have happened. */
const QUIET_MS = 5000;
/** So many changes leave enough behind that giving it back is worth some milliseconds. */
const BURST = 50;

/** Gives memory back to the kernel after the start and after bursts of changes, when it has become quiet again. */
export class AfterBurst {
  readonly #quietMs: number;
  readonly #release: () => void;
  #changes = BURST;
  #last = performance.now();

  constructor(release: () => void = releaseMemory, quietMs = QUIET_MS) {
    this.#release = release;
    this.#quietMs = quietMs;
  }

  /** Something has changed. */
  count(): void {
    this.#changes += 1;
    this.#last = performance.now();
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#quietMs, signal);
      const isQuiet = performance.now() - this.#last >= this.#quietMs;
      if (signal.aborted || !isQuiet || this.#changes < BURST) continue;
      this.#changes = 0;
      this.#release();
    }
  }
}
