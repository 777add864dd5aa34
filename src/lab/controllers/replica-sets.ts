import type { ReplicaSet, ReplicaSetStatus } from 'kubernetes-types/apps/v1.js';
import type { Pod } from 'kubernetes-types/core/v1.js';
import { keyOf, objectKey } from '../../cluster/kube-object.ts';
import { REPLICA_SETS } from '../../cluster/resource-type.ts';
import { describeError } from '../../errors/flatnet-error.ts';
import type { WorkQueue } from '../../reconcile/work-queue.ts';
import { byNamespace, type ControllerContext, type Views } from './context.ts';
import { kubeTime } from './kube-time.ts';
import { matchesLabels, matchesSelector } from './label-selector.ts';
import { controllerOf } from './ownership.ts';
import { claimPods } from './pod-claims.ts';
import { PodControl } from './pod-control.ts';
import { isActive, isReady, readySince, untilAvailable } from './pod-state.ts';
import { writeStatus } from './status-writer.ts';

/** Keeps as many pods of each ReplicaSet as it asks for. */
export function startReplicaSets(context: ControllerContext): void {
  const { views } = context;
  const recorder = context.recorder('replicaset-controller');
  const queue = context.queue('replicaset', sync, 4);

  async function sync(key: string): Promise<void> {
    const set = views.replicaSets.get(key);
    if (set === undefined) return;
    const pods = (await claimPods(context, REPLICA_SETS, set, set.spec?.selector)).filter(isActive);
    let failure: unknown;
    if (set.metadata?.deletionTimestamp === undefined) {
      try {
        await scale(set, pods);
      } catch (error) {
        failure = error;
      }
    }
    await updateStatus(set, failure);
    if (failure !== undefined) throw failure as Error;
  }

  async function scale(set: ReplicaSet, pods: Pod[]): Promise<void> {
    const control = new PodControl(context, { type: REPLICA_SETS, object: set, recorder });
    const missing = (set.spec?.replicas ?? 1) - pods.length;
    const template = set.spec?.template ?? {};
    if (missing > 0) await control.create(Array.from({ length: missing }, () => template));
    if (missing >= 0) return;
    const crowd = (pod: Pod): number => pods.filter((other) => sameNode(other, pod)).length;
    await control.delete([...pods].sort((a, b) => rank(a, b, crowd)).slice(0, -missing));
  }

  async function updateStatus(set: ReplicaSet, failure: unknown): Promise<void> {
    const pods = (await claimPods(context, REPLICA_SETS, set, set.spec?.selector)).filter(isActive);
    const waits = pods.map((pod) => untilAvailable(pod, set.spec?.minReadySeconds ?? 0, Date.now()));
    const soonest = Math.min(...waits.filter((wait) => wait > 0));
    if (Number.isFinite(soonest)) queue.addAfter(keyOf(set), soonest);
    const status: ReplicaSetStatus = {
      replicas: pods.length,
      fullyLabeledReplicas: pods.filter((pod) =>
        matchesLabels(set.spec?.template?.metadata?.labels, pod.metadata?.labels),
      ).length,
      readyReplicas: pods.filter(isReady).length,
      availableReplicas: waits.filter((wait) => wait === 0).length,
      observedGeneration: set.metadata?.generation ?? 0,
      conditions: conditionsAfter(set, failure),
    };
    await writeStatus(context, REPLICA_SETS, views.replicaSets, set, status);
  }

  watchReplicaSets(views, queue);
}

function watchReplicaSets(views: Views, queue: WorkQueue): void {
  views.replicaSets.onChange((now) => {
    if (now !== undefined) queue.add(keyOf(now));
  });
  views.pods.onChange((now, before) => {
    for (const pod of [now, before]) {
      if (pod === undefined) continue;
      const owner = controllerOf(pod);
      const namespace = pod.metadata?.namespace ?? '';
      if (owner?.kind === 'ReplicaSet') queue.add(objectKey({ namespace, name: owner.name }));
      if (owner !== undefined) continue;
      // An orphan: whoever selects it will take it over.
      for (const set of views.replicaSets.find(byNamespace(namespace))) {
        if (matchesSelector(set.spec?.selector, pod.metadata?.labels)) queue.add(keyOf(set));
      }
    }
  });
}

function conditionsAfter(set: ReplicaSet, failure: unknown): NonNullable<ReplicaSetStatus['conditions']> {
  const others = (set.status?.conditions ?? []).filter(({ type }) => type !== 'ReplicaFailure');
  if (failure === undefined) return others;
  const known = set.status?.conditions?.find(({ type }) => type === 'ReplicaFailure');
  const lastTransitionTime = known?.lastTransitionTime ?? kubeTime();
  const message = describeError(failure);
  return [
    ...others,
    { type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate', message, lastTransitionTime },
  ];
}

const sameNode = (a: Pod, b: Pod): boolean => a.spec?.nodeName === b.spec?.nodeName;

const PHASES: Readonly<Record<string, number>> = { Pending: 0, Unknown: 1, Running: 2 };

/**
 * Which of two pods is given up first (negative: `a`): the order of Kubernetes, so that the least is lost:
 * without node, pending, not ready, low deletion cost, many siblings on the node, ready for less long, younger.
 */
export function rank(a: Pod, b: Pod, crowd: (pod: Pod) => number): number {
  const steps: ((pod: Pod) => number)[] = [
    (pod) => (pod.spec?.nodeName === undefined ? 0 : 1),
    (pod) => PHASES[pod.status?.phase ?? 'Pending'] ?? 2,
    (pod) => (isReady(pod) ? 1 : 0),
    (pod) => Number(pod.metadata?.annotations?.['controller.kubernetes.io/pod-deletion-cost'] ?? 0),
    (pod) => -crowd(pod),
    (pod) => -(readySince(pod) ?? 0),
    (pod) => -restarts(pod),
    (pod) => -Date.parse(pod.metadata?.creationTimestamp ?? ''),
  ];
  for (const step of steps) {
    const difference = step(a) - step(b);
    if (difference !== 0 && !Number.isNaN(difference)) return difference;
  }
  return 0;
}

function restarts(pod: Pod): number {
  return Math.max(0, ...(pod.status?.containerStatuses ?? []).map((container) => container.restartCount));
}
