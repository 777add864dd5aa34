import { performance } from 'node:perf_hooks';
import { FlatnetError } from '../../../errors/flatnet-error.ts';

const TIMEOUT_MS = 120_000;
const SLEEPING = new Int32Array(new SharedArrayBuffer(4));

/** Asks every `everyMs` until the answer is true; in between it sleeps, and nothing else in this process runs. */
export function pollBlocking(what: string, everyMs: number, probe: () => boolean): void {
  const until = performance.now() + TIMEOUT_MS;
  while (!probe()) {
    if (performance.now() > until) {
      throw new FlatnetError(`${what} did not come within ${TIMEOUT_MS / 1000} s`, { code: 'ETIMEDOUT' });
    }
    Atomics.wait(SLEEPING, 0, 0, everyMs);
  }
}
