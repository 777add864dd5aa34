import type {
  Deployment,
  DeploymentCondition,
  DeploymentStatus,
  ReplicaSet,
} from 'kubernetes-types/apps/v1.js';
import { kubeTime } from './kube-time.ts';
import { toleranceOf } from './rollout-math.ts';

/** The status `kubectl rollout status` reads. `now` in milliseconds since the epoch. */
export function deploymentStatus(
  deployment: Deployment,
  fresh: ReplicaSet | undefined,
  all: readonly ReplicaSet[],
  now: number,
): DeploymentStatus {
  const total = (of: (set: ReplicaSet) => number | undefined): number =>
    all.reduce((sum, set) => sum + (of(set) ?? 0), 0);
  const available = total((set) => set.status?.availableReplicas);
  const wanted = deployment.spec?.replicas ?? 1;
  const counts = {
    replicas: total((set) => set.status?.replicas),
    updatedReplicas: fresh?.status?.replicas ?? 0,
    readyReplicas: total((set) => set.status?.readyReplicas),
    availableReplicas: available,
    unavailableReplicas: Math.max(0, total((set) => set.spec?.replicas) - available),
  };
  const isComplete = counts.updatedReplicas === wanted && counts.replicas === wanted && available === wanted;
  return {
    observedGeneration: deployment.metadata?.generation ?? 0,
    ...counts,
    ...(deployment.status?.collisionCount === undefined
      ? {}
      : { collisionCount: deployment.status.collisionCount }),
    conditions: [
      availability(deployment, available, now),
      progress(deployment, fresh, counts, isComplete, now),
      ...replicaFailure(deployment, all, now),
    ],
  };
}

/** Milliseconds until the rollout counts as stuck; undefined when it is complete, paused or stuck already. */
export function untilDeadline(
  deployment: Deployment,
  status: DeploymentStatus,
  now: number,
): number | undefined {
  const condition = status.conditions?.find(({ type }) => type === 'Progressing');
  if (condition === undefined || isSettled(condition.reason)) return undefined;
  const seconds = deployment.spec?.progressDeadlineSeconds ?? 600;
  return Math.max(0, Date.parse(condition.lastUpdateTime ?? '') + seconds * 1000 - now) + 1;
}

function isSettled(reason: string | undefined): boolean {
  return (
    reason === 'NewReplicaSetAvailable' ||
    reason === 'ProgressDeadlineExceeded' ||
    reason === 'DeploymentPaused'
  );
}

function availability(deployment: Deployment, available: number, now: number): DeploymentCondition {
  const { maxUnavailable } = toleranceOf(deployment.spec ?? { selector: {}, template: {} });
  const isEnough = available >= (deployment.spec?.replicas ?? 1) - maxUnavailable;
  return condition(deployment, now, {
    type: 'Available',
    status: isEnough ? 'True' : 'False',
    reason: isEnough ? 'MinimumReplicasAvailable' : 'MinimumReplicasUnavailable',
    message: `Deployment ${isEnough ? 'has' : 'does not have'} minimum availability.`,
  });
}

function progress(
  deployment: Deployment,
  fresh: ReplicaSet | undefined,
  counts: Readonly<Record<string, number>>,
  isComplete: boolean,
  now: number,
): DeploymentCondition {
  const name = fresh?.metadata?.name ?? '';
  const known = deployment.status?.conditions?.find(({ type }) => type === 'Progressing');
  const make = (status: string, reason: string, message: string): DeploymentCondition =>
    condition(deployment, now, { type: 'Progressing', status, reason, message });
  if (deployment.spec?.paused === true) {
    return make('Unknown', 'DeploymentPaused', 'Deployment is paused');
  }
  if (isComplete) {
    return make('True', 'NewReplicaSetAvailable', `ReplicaSet "${name}" has successfully progressed.`);
  }
  const isSameRollout = deployment.status?.observedGeneration === deployment.metadata?.generation;
  const before = deployment.status;
  const moved =
    before === undefined ||
    counts['updatedReplicas'] !== (before.updatedReplicas ?? 0) ||
    counts['readyReplicas'] !== (before.readyReplicas ?? 0) ||
    counts['availableReplicas'] !== (before.availableReplicas ?? 0) ||
    counts['replicas'] !== (before.replicas ?? 0);
  const deadline = (deployment.spec?.progressDeadlineSeconds ?? 600) * 1000;
  const isLate =
    known !== undefined &&
    isSameRollout &&
    !moved &&
    known.reason !== 'NewReplicaSetAvailable' &&
    now - Date.parse(known.lastUpdateTime ?? '') >= deadline;
  if (isLate || (known?.reason === 'ProgressDeadlineExceeded' && isSameRollout && !moved)) {
    return make('False', 'ProgressDeadlineExceeded', `ReplicaSet "${name}" has timed out progressing.`);
  }
  const message = `ReplicaSet "${name}" is progressing.`;
  const next = make('True', 'ReplicaSetUpdated', message);
  return moved || !isSameRollout ? { ...next, lastUpdateTime: kubeTime(now) } : next;
}

function replicaFailure(
  deployment: Deployment,
  all: readonly ReplicaSet[],
  now: number,
): DeploymentCondition[] {
  for (const set of all) {
    const failed = set.status?.conditions?.find(({ type }) => type === 'ReplicaFailure');
    if (failed === undefined) continue;
    const { type, status, reason = '', message = '' } = failed;
    return [condition(deployment, now, { type, status, reason, message })];
  }
  return [];
}

/** Keeps the times of a condition that did not change. */
function condition(
  deployment: Deployment,
  now: number,
  next: { type: string; status: string; reason: string; message: string },
): DeploymentCondition {
  const known = deployment.status?.conditions?.find(({ type }) => type === next.type);
  const time = kubeTime(now);
  const isSame =
    known?.status === next.status && known.reason === next.reason && known.message === next.message;
  return {
    ...next,
    lastUpdateTime: isSame ? (known.lastUpdateTime ?? time) : time,
    lastTransitionTime: known?.status === next.status ? (known.lastTransitionTime ?? time) : time,
  };
}
