import type { LifecycleHandler } from 'kubernetes-types/core/v1.js';
import { sleep } from '../../timing/backoff.ts';
import { runProbe, type ProbeOutcome, type ProbeTarget } from './probe.ts';

/** Runs a postStart or preStop handler to its end, but no longer than `limitMs`. Never throws. */
export async function runHook(
  handler: LifecycleHandler,
  target: ProbeTarget,
  limitMs: number,
): Promise<ProbeOutcome> {
  const pause = (handler as { sleep?: { seconds?: number } }).sleep;
  if (pause !== undefined) {
    await sleep(Math.min(limitMs, (pause.seconds ?? 0) * 1000));
    return { success: true, message: '' };
  }
  return runProbe({ ...handler, timeoutSeconds: limitMs / 1000 }, target);
}
