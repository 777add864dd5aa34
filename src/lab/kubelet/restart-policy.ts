import { Backoff } from '../../timing/backoff.ts';

const INITIAL_MS = 10_000;
const MAX_MS = 300_000;
const RESET_AFTER_MS = 600_000;

/** Whether a container that ended is started again. */
export function restarts(policy: string | undefined, exitCode: number): boolean {
  switch (policy) {
    case 'Never':
      return false;
    case 'OnFailure':
      return exitCode !== 0;
    default:
      return true;
  }
}

/**
 * CrashLoopBackOff as the kubelet has it: the first restart at once, then 10 s, doubling up to five minutes;
 * forgotten after a run of ten minutes.
 */
export class CrashLoop {
  readonly #backoff = new Backoff({ initialMs: INITIAL_MS, maxMs: MAX_MS, random: () => 1 });
  #started = false;

  /** Milliseconds to wait before the next start, after a run of `ranMs`. */
  delayAfter(ranMs: number): number {
    if (ranMs >= RESET_AFTER_MS) {
      this.#backoff.reset();
      this.#started = false;
    }
    if (!this.#started) {
      this.#started = true;
      return 0;
    }
    return this.#backoff.next();
  }
}
