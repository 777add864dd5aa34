import type { Pod, Taint } from 'kubernetes-types/core/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { keyOf, refOf } from '../../cluster/kube-object.ts';
import { NODES, PODS } from '../../cluster/resource-type.ts';
import { byNode, type ControllerContext } from './context.ts';
import { isTolerated } from './node-fit.ts';
import { sameJson } from './same-json.ts';

/** What the admission plugin DefaultTolerationSeconds gives a pod that says nothing about dead nodes. */
const DEFAULT_TOLERATION_SECONDS = 300;
const DEAD_NODE_TAINTS = new Set(['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable']);

/** Deletes pods whose node is gone, and those whose time on a node with a taint NoExecute is over. */
export function startPodEviction(context: ControllerContext): void {
  const { views, client, signal } = context;
  const recorder = context.recorder('taint-eviction-controller');
  const queue = context.queue('pod-eviction', async (key) => {
    const pod = views.pods.get(key);
    const nodeName = pod?.spec?.nodeName;
    if (pod === undefined || nodeName === undefined) return;
    const node = views.nodes.get(nodeName);
    if (node === undefined) {
      if (!(await nodeExists(nodeName))) await remove(pod, { gracePeriodSeconds: 0 });
      return;
    }
    if (pod.metadata?.deletionTimestamp !== undefined) return;
    const waitMs = untilEviction(pod, node.spec?.taints ?? [], Date.now());
    if (waitMs === Infinity) return;
    if (waitMs > 0) {
      queue.addAfter(key, waitMs);
      return;
    }
    recorder.record(pod, 'Normal', 'TaintManagerEviction', `Marking for deletion Pod ${key}`);
    await remove(pod, {});
  });

  async function nodeExists(name: string): Promise<boolean> {
    try {
      await client.get(NODES, { name }, { signal });
      return true;
    } catch (error) {
      if (hasStatus(error, 404)) return false;
      throw error;
    }
  }

  async function remove(pod: Pod, options: { gracePeriodSeconds?: number }): Promise<void> {
    try {
      await client.delete(PODS, refOf(pod), { signal, ...options });
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
    }
  }

  views.nodes.onChange((now, before) => {
    if (now !== undefined && sameJson(now.spec?.taints ?? [], before?.spec?.taints ?? [])) return;
    for (const pod of views.pods.find(byNode((now ?? before)?.metadata?.name ?? ''))) queue.add(keyOf(pod));
  });
  views.pods.onChange((now, before) => {
    const node = now?.spec?.nodeName;
    if (now === undefined || node === undefined || node === before?.spec?.nodeName) return;
    const taints = views.nodes.get(node)?.spec?.taints;
    if (taints === undefined || taints.some(({ effect }) => effect === 'NoExecute')) queue.add(keyOf(now));
  });
}

/** Pure: milliseconds that a pod may stay beside the taints; 0 or less: go now; Infinity: as long as it likes. */
export function untilEviction(pod: Pod, taints: readonly Taint[], now: number): number {
  const tolerations = pod.spec?.tolerations ?? [];
  let soonest = Infinity;
  for (const taint of taints) {
    if (taint.effect !== 'NoExecute') continue;
    const matching = tolerations.filter((toleration) => isTolerated(taint, [toleration]));
    const seconds = matching.map((toleration) => toleration.tolerationSeconds ?? Infinity);
    if (matching.length === 0 && DEAD_NODE_TAINTS.has(taint.key)) seconds.push(DEFAULT_TOLERATION_SECONDS);
    const allowed = seconds.length === 0 ? 0 : Math.min(...seconds);
    const since = taint.timeAdded === undefined ? now : Date.parse(taint.timeAdded);
    soonest = Math.min(soonest, since + allowed * 1000 - now);
  }
  return soonest;
}
