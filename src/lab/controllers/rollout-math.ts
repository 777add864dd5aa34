import type { DeploymentSpec } from 'kubernetes-types/apps/v1.js';

/** How far a rolling update may stray from the wanted number of pods. */
export interface Tolerance {
  readonly maxSurge: number;
  readonly maxUnavailable: number;
}

/** A number of pods, or a percentage of `total`; text that is neither counts as 0 (the API refuses it). */
export function resolveAmount(
  value: number | string | undefined,
  total: number,
  round: 'up' | 'down',
): number {
  if (typeof value === 'number') return value;
  const percent = /^(\d+)%$/.exec(value ?? '')?.[1];
  if (percent === undefined) return 0;
  const exact = (Number(percent) * total) / 100;
  return round === 'up' ? Math.ceil(exact) : Math.floor(exact);
}

export function toleranceOf(spec: DeploymentSpec): Tolerance {
  if (spec.strategy?.type === 'Recreate') return { maxSurge: 0, maxUnavailable: 0 };
  const { maxSurge = '25%', maxUnavailable = '25%' } = spec.strategy?.rollingUpdate ?? {};
  const replicas = spec.replicas ?? 1;
  const surge = resolveAmount(maxSurge, replicas, 'up');
  const unavailable = Math.min(replicas, resolveAmount(maxUnavailable, replicas, 'down'));
  // Both rounded to nothing would never move.
  return { maxSurge: surge, maxUnavailable: surge === 0 && unavailable === 0 ? 1 : unavailable };
}

/** What a rollout step looks at in a ReplicaSet. */
export interface SetSize {
  readonly name: string;
  readonly replicas: number;
  readonly available: number;
}

/** The size of the new set in the next step of a rolling update. */
export function nextNewSize(
  wanted: number,
  tolerance: Tolerance,
  fresh: SetSize,
  old: readonly SetSize[],
): number {
  if (fresh.replicas >= wanted) return wanted;
  const total = sum([fresh, ...old], (set) => set.replicas);
  const room = wanted + tolerance.maxSurge - total;
  return Math.max(fresh.replicas, Math.min(wanted, fresh.replicas + room));
}

/**
 * The sizes of the old sets, oldest first in `old`, in the next step: first those pods go that serve nobody
 * anyway, then as many as `maxUnavailable` permits.
 */
export function nextOldSizes(
  wanted: number,
  tolerance: Tolerance,
  fresh: SetSize,
  old: readonly SetSize[],
): Map<string, number> {
  const sizes = new Map(old.map((set) => [set.name, set.replicas]));
  const minimum = wanted - tolerance.maxUnavailable;
  const total = sum([fresh, ...old], (set) => set.replicas);
  const newUnavailable = fresh.replicas - fresh.available;
  let removable = total - minimum - newUnavailable;
  for (const set of old) {
    if (removable <= 0) return sizes;
    const idle = Math.min(removable, Math.max(0, set.replicas - set.available));
    sizes.set(set.name, set.replicas - idle);
    removable -= idle;
  }
  let spare = sum([fresh, ...old], (set) => set.available) - minimum;
  for (const set of old) {
    if (spare <= 0) return sizes;
    const size = sizes.get(set.name) ?? 0;
    const taken = Math.min(size, spare);
    sizes.set(set.name, size - taken);
    spare -= taken;
  }
  return sizes;
}

function sum(sets: readonly SetSize[], of: (set: SetSize) => number): number {
  return sets.reduce((total, set) => total + of(set), 0);
}
