import type { DaemonSet, DaemonSetStatus } from 'kubernetes-types/apps/v1.js';
import type { Node, Pod, PodSpec, PodTemplateSpec } from 'kubernetes-types/core/v1.js';
import { keyOf, objectKey } from '../../cluster/kube-object.ts';
import { DAEMON_SETS } from '../../cluster/resource-type.ts';
import type { WorkQueue } from '../../reconcile/work-queue.ts';
import { byNamespace, type ControllerContext, type Views } from './context.ts';
import { isEligible, pin, placement } from './daemon-placement.ts';
import { matchesSelector } from './label-selector.ts';
import { controllerOf } from './ownership.ts';
import { claimPods } from './pod-claims.ts';
import { PodControl } from './pod-control.ts';
import { isReady, isTerminal, untilAvailable } from './pod-state.ts';
import { resolveAmount } from './rollout-math.ts';
import { sameJson } from './same-json.ts';
import { writeStatus } from './status-writer.ts';
import { templateHash } from './template-hash.ts';

const REVISION_HASH = 'controller-revision-hash';

/** A DaemonSet with its pods, by the node that they are meant for. */
interface Deployed {
  readonly set: DaemonSet;
  readonly hash: string;
  readonly eligible: readonly string[];
  readonly podsOn: ReadonlyMap<string, readonly Pod[]>;
}

/** Keeps one pod of each DaemonSet on every node that it may run on. */
export function startDaemonSets(context: ControllerContext): void {
  const { views } = context;
  const recorder = context.recorder('daemonset-controller');
  const queue = context.queue('daemonset', sync, 4);

  async function sync(key: string): Promise<void> {
    const set = views.daemonSets.get(key);
    if (set === undefined) return;
    if (set.metadata?.deletionTimestamp === undefined) {
      const before = await observe(set);
      const control = new PodControl(context, { type: DAEMON_SETS, object: set, recorder });
      const { missing, surplus } = changes(before);
      await control.delete([...surplus, ...outdated(before, surplus)]);
      await control.create(missing.map((node) => templateFor(set, before.hash, node)));
    }
    await updateStatus(await observe(set));
  }

  async function observe(set: DaemonSet): Promise<Deployed> {
    const pods = await claimPods(context, DAEMON_SETS, set, set.spec?.selector);
    const podsOn = new Map<string, Pod[]>();
    for (const pod of pods) {
      const node = placement(pod);
      const others = podsOn.get(node);
      if (others === undefined) podsOn.set(node, [pod]);
      else others.push(pod);
    }
    const spec = set.spec?.template.spec ?? { containers: [] };
    const eligible = [...views.nodes.values()]
      .filter((node) => isEligible(spec, node))
      .map((node) => node.metadata?.name ?? '');
    return { set, hash: templateHash(set.spec?.template), eligible, podsOn };
  }

  async function updateStatus(deployed: Deployed): Promise<void> {
    const { set } = deployed;
    const { status, soonest } = statusOf(deployed, Date.now());
    if (Number.isFinite(soonest)) queue.addAfter(keyOf(set), soonest);
    await writeStatus(context, DAEMON_SETS, views.daemonSets, set, status);
  }

  watchDaemonSets(views, queue);
}

function watchDaemonSets(views: Views, queue: WorkQueue): void {
  views.daemonSets.onChange((now) => {
    if (now !== undefined) queue.add(keyOf(now));
  });
  views.pods.onChange((now, before) => {
    for (const pod of [now, before]) {
      const owner = controllerOf(pod ?? {});
      const namespace = pod?.metadata?.namespace ?? '';
      if (owner?.kind === 'DaemonSet') queue.add(objectKey({ namespace, name: owner.name }));
      if (pod === undefined || owner !== undefined) continue;
      for (const set of views.daemonSets.find(byNamespace(namespace))) {
        if (matchesSelector(set.spec?.selector, pod.metadata?.labels)) queue.add(keyOf(set));
      }
    }
  });
  views.nodes.onChange((now, before) => {
    if (now !== undefined && before !== undefined && sameJson(admission(now), admission(before))) return;
    for (const set of views.daemonSets.values()) queue.add(keyOf(set));
  });
}

const admission = (node: Node): unknown => [
  node.metadata?.labels,
  node.spec?.taints,
  node.spec?.unschedulable,
];

const isLeaving = (pod: Pod): boolean => pod.metadata?.deletionTimestamp !== undefined;

/** Pure: nodes that lack a pod, and pods that are too many, on the wrong node or ended. */
function changes({ eligible, podsOn }: Deployed): { missing: string[]; surplus: Pod[] } {
  const missing: string[] = [];
  const surplus: Pod[] = [];
  const wanted = new Set(eligible);
  for (const node of eligible) {
    const pods = podsOn.get(node) ?? [];
    const staying = pods.filter((pod) => !isLeaving(pod) && !isTerminal(pod));
    surplus.push(...pods.filter((pod) => isTerminal(pod) && !isLeaving(pod)), ...staying.slice(1));
    // The successor waits until the predecessor is gone: it may need its ports.
    if (pods.length === 0) missing.push(node);
  }
  for (const [node, pods] of podsOn) {
    if (!wanted.has(node)) surplus.push(...pods.filter((pod) => !isLeaving(pod)));
  }
  return { missing, surplus };
}

/** Pure: the pods of an old template that a rolling update replaces now, at most maxUnavailable at once. */
function outdated({ set, hash, eligible, podsOn }: Deployed, surplus: readonly Pod[]): Pod[] {
  const { type = 'RollingUpdate', rollingUpdate } = set.spec?.updateStrategy ?? {};
  if (type !== 'RollingUpdate') return [];
  let allowed = Math.max(1, resolveAmount(rollingUpdate?.maxUnavailable ?? 1, eligible.length, 'up'));
  const replaceable: Pod[] = [];
  const useless: Pod[] = [];
  for (const node of eligible) {
    const pod = podsOn.get(node)?.find((candidate) => !isLeaving(candidate) && !surplus.includes(candidate));
    const isServing =
      pod !== undefined && untilAvailable(pod, set.spec?.minReadySeconds ?? 0, Date.now()) === 0;
    const isOld = pod !== undefined && pod.metadata?.labels?.[REVISION_HASH] !== hash;
    // Replacing a pod that serves nobody costs nothing more.
    if (!isServing && isOld) useless.push(pod);
    else if (!isServing) allowed -= 1;
    else if (isOld) replaceable.push(pod);
  }
  return [...useless, ...replaceable.slice(0, Math.max(0, allowed - useless.length))];
}

function templateFor(set: DaemonSet, hash: string, node: string): PodTemplateSpec {
  const template = set.spec?.template ?? {};
  const spec: PodSpec = template.spec ?? { containers: [] };
  const labels = { ...template.metadata?.labels, [REVISION_HASH]: hash };
  return {
    metadata: { ...template.metadata, labels },
    spec: pin(spec, node),
  };
}

function statusOf(deployed: Deployed, now: number): { status: DaemonSetStatus; soonest: number } {
  const { set, hash, eligible, podsOn } = deployed;
  const wanted = new Set(eligible);
  const counts = { scheduled: 0, misscheduled: 0, ready: 0, available: 0, updated: 0 };
  let soonest = Infinity;
  for (const [node, pods] of podsOn) {
    const pod = pods.find((candidate) => !isLeaving(candidate)) ?? pods[0];
    if (pod === undefined || pod.spec?.nodeName === undefined) continue;
    if (!wanted.has(node)) {
      counts.misscheduled += 1;
      continue;
    }
    counts.scheduled += 1;
    if (pod.metadata?.labels?.[REVISION_HASH] === hash) counts.updated += 1;
    if (isLeaving(pod) || !isReady(pod)) continue;
    counts.ready += 1;
    const wait = untilAvailable(pod, set.spec?.minReadySeconds ?? 0, now);
    if (wait === 0) counts.available += 1;
    else soonest = Math.min(soonest, wait);
  }
  const status = {
    currentNumberScheduled: counts.scheduled,
    desiredNumberScheduled: eligible.length,
    numberMisscheduled: counts.misscheduled,
    numberReady: counts.ready,
    numberAvailable: counts.available,
    numberUnavailable: eligible.length - counts.available,
    updatedNumberScheduled: counts.updated,
    observedGeneration: set.metadata?.generation ?? 0,
  };
  return { status, soonest };
}
