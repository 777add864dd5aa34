import type { Probe } from 'kubernetes-types/core/v1.js';
import { sleep } from '../../timing/backoff.ts';
import { runProbe, type ProbeOutcome, type ProbeTarget } from './probe.ts';

/** Turns single outcomes into a verdict: so many in a row of the other kind change it. Pure but for its counters. */
export class ProbeVerdict {
  readonly #successThreshold: number;
  readonly #failureThreshold: number;
  #streak = 0;
  #last: boolean | undefined;
  #verdict: boolean | undefined;

  constructor(probe: Probe) {
    this.#successThreshold = probe.successThreshold ?? 1;
    this.#failureThreshold = probe.failureThreshold ?? 3;
  }

  /** The verdict after one more outcome; undefined until the first threshold is reached. */
  add(success: boolean): boolean | undefined {
    this.#streak = success === this.#last ? this.#streak + 1 : 1;
    this.#last = success;
    const threshold = success ? this.#successThreshold : this.#failureThreshold;
    if (this.#streak >= threshold) this.#verdict = success;
    return this.#verdict;
  }
}

export interface ProbeHandlers {
  /** Each change of the verdict, the first included. */
  readonly onVerdict: (success: boolean, outcome: ProbeOutcome) => void;
  /** Each single failure. */
  readonly onFailure: (outcome: ProbeOutcome) => void;
}

/** Probes until the signal is aborted, or once a verdict when `untilSuccess` (startup probes). */
export async function probeLoop(
  probe: Probe,
  target: ProbeTarget,
  handlers: ProbeHandlers,
  signal: AbortSignal,
  options: { readonly untilSuccess?: boolean } = {},
): Promise<void> {
  const verdict = new ProbeVerdict(probe);
  const periodMs = (probe.periodSeconds ?? 10) * 1000;
  let before: boolean | undefined;
  await sleep((probe.initialDelaySeconds ?? 0) * 1000, signal);
  while (!signal.aborted) {
    const outcome = await runProbe(probe, target);
    if (signal.aborted) return;
    if (!outcome.success) handlers.onFailure(outcome);
    const now = verdict.add(outcome.success);
    if (now !== undefined && now !== before) handlers.onVerdict(now, outcome);
    before = now;
    if (now === true && options.untilSuccess === true) return;
    await sleep(periodMs, signal);
  }
}
