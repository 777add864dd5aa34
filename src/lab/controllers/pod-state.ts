import type { Pod } from 'kubernetes-types/core/v1.js';

/** Neither ended nor about to be deleted: counts towards a controller's replicas. */
export function isActive(pod: Pod): boolean {
  return !isTerminal(pod) && pod.metadata?.deletionTimestamp === undefined;
}

/** Its containers have ended for good. */
export function isTerminal(pod: Pod): boolean {
  return pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
}

export function isReady(pod: Pod): boolean {
  return readyCondition(pod)?.status === 'True';
}

/** When the pod became (un)ready, milliseconds since the epoch; undefined before the first report. */
export function readySince(pod: Pod): number | undefined {
  const time = readyCondition(pod)?.lastTransitionTime;
  return time === undefined ? undefined : Date.parse(time);
}

/**
 * Milliseconds until a ready pod has been ready for `minReadySeconds`: 0 for one that is available,
 * Infinity for one that is not ready.
 */
export function untilAvailable(pod: Pod, minReadySeconds: number, now: number): number {
  if (!isReady(pod)) return Infinity;
  if (minReadySeconds === 0) return 0;
  return Math.max(0, (readySince(pod) ?? now) + minReadySeconds * 1000 - now);
}

function readyCondition(pod: Pod): { status: string; lastTransitionTime?: string } | undefined {
  return pod.status?.conditions?.find((condition) => condition.type === 'Ready');
}
