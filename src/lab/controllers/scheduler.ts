import type { Binding, Node, Pod } from 'kubernetes-types/core/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import type { EventRecorder } from '../../cluster/event-recorder.ts';
import { keyOf, refOf } from '../../cluster/kube-object.ts';
import { PODS } from '../../cluster/resource-type.ts';
import { byNode, type ControllerContext } from './context.ts';
import { kubeTime } from './kube-time.ts';
import { misfit } from './node-fit.ts';
import { controllerOf } from './ownership.ts';
import { isTerminal } from './pod-state.ts';
import { missingResources } from './resource-fit.ts';

const SCHEDULER = 'default-scheduler';

/**
 * Gives each pod a node that it fits on, the one with the fewest pods of the same owner, then with the fewest
 * pods. Not weighed: affinity between pods, topology spread constraints.
 */
export function startScheduler(context: ControllerContext): void {
  const scheduler = new Scheduler(context);
  const queue = context.queue('scheduler', async (key) => scheduler.schedule(key));
  const reconsider = (): void => {
    for (const key of scheduler.waiting) queue.add(key);
  };
  context.views.pods.onChange((now, before) => {
    if (now === undefined) {
      if (before !== undefined) scheduler.waiting.delete(keyOf(before));
      if (before?.spec?.nodeName !== undefined) reconsider();
    } else if (isTerminal(now) && before !== undefined && !isTerminal(before)) {
      reconsider();
    } else if (isToSchedule(now) && (before === undefined || !isToSchedule(before))) queue.add(keyOf(now));
  });
  context.views.nodes.onChange((now, before) => {
    if (now !== undefined && (before === undefined || admission(now) !== admission(before))) reconsider();
  });
}

class Scheduler {
  /** Keys of pods that fitted nowhere: looked at again when a node changes or a pod leaves. */
  readonly waiting = new Set<string>();
  readonly #context: ControllerContext;
  readonly #recorder: EventRecorder;

  constructor(context: ControllerContext) {
    this.#context = context;
    this.#recorder = context.recorder(SCHEDULER);
  }

  async schedule(key: string): Promise<void> {
    const { pods, nodes } = this.#context.views;
    const pod = pods.get(key);
    this.waiting.delete(key);
    if (pod === undefined || !isToSchedule(pod)) return;
    const decision = choose(pod, [...nodes.values()], (node) => pods.find(byNode(node)));
    if (decision.node === undefined) {
      this.waiting.add(key);
      await this.#reportUnschedulable(pod, decision.why);
    } else {
      await this.#bind(pod, decision.node);
    }
  }

  async #bind(pod: Pod, node: string): Promise<void> {
    const { name = '', namespace = '' } = pod.metadata ?? {};
    const { client, views, signal } = this.#context;
    const binding: Binding = {
      apiVersion: 'v1',
      kind: 'Binding',
      metadata: { name, namespace },
      target: { apiVersion: 'v1', kind: 'Node', name: node },
    };
    try {
      await client.createSubresource(PODS, refOf(pod), 'binding', binding, { signal });
    } catch (error) {
      // Deleted, or bound by somebody else, since the decision.
      if (hasStatus(error, 404) || hasStatus(error, 409)) return;
      throw error;
    }
    views.pods.written({ ...pod, spec: { containers: [], ...pod.spec, nodeName: node } });
    this.#recorder.record(
      pod,
      'Normal',
      'Scheduled',
      `Successfully assigned ${namespace}/${name} to ${node}`,
    );
  }

  async #reportUnschedulable(pod: Pod, message: string): Promise<void> {
    const known = pod.status?.conditions?.find(({ type }) => type === 'PodScheduled');
    if (known?.status === 'False' && known.message === message) return;
    this.#recorder.record(pod, 'Warning', 'FailedScheduling', message);
    const condition = {
      type: 'PodScheduled',
      status: 'False',
      reason: 'Unschedulable',
      message,
      lastTransitionTime: kubeTime(),
    };
    const { client, signal } = this.#context;
    const body = { status: { conditions: [condition] } };
    await client.patch(PODS, refOf(pod), { type: 'strategic', body }, { subresource: 'status', signal });
  }
}

function isToSchedule(pod: Pod): boolean {
  const { nodeName, schedulerName = SCHEDULER, schedulingGates = [] } = pod.spec ?? {};
  return (
    nodeName === undefined &&
    schedulerName === SCHEDULER &&
    schedulingGates.length === 0 &&
    pod.metadata?.deletionTimestamp === undefined &&
    !isTerminal(pod)
  );
}

/** What of a node decides about pods; the rest (heartbeats above all) does not reopen decisions. */
function admission(node: Node): string {
  const ready = node.status?.conditions?.find(({ type }) => type === 'Ready')?.status;
  const { unschedulable, taints } = node.spec ?? {};
  return JSON.stringify([ready, unschedulable, taints, node.metadata?.labels, node.status?.allocatable]);
}

export type Decision = { readonly node: string } | { readonly node?: undefined; readonly why: string };

/** Pure: the node for a pod among `nodes`, or why there is none. */
export function choose(pod: Pod, nodes: readonly Node[], podsOn: (node: string) => readonly Pod[]): Decision {
  const owner = controllerOf(pod)?.uid;
  const reasons = new Map<string, number>();
  let best: { name: string; siblings: number; pods: number } | undefined;
  for (const node of nodes) {
    const name = node.metadata?.name ?? '';
    const running = podsOn(name).filter((other) => !isTerminal(other));
    const why = misfitsOn(pod, node, running);
    if (why.length > 0) {
      for (const one of why) reasons.set(one, (reasons.get(one) ?? 0) + 1);
      continue;
    }
    const siblings = running.filter(
      (other) =>
        owner !== undefined &&
        controllerOf(other)?.uid === owner &&
        other.metadata?.deletionTimestamp === undefined,
    ).length;
    const candidate = { name, siblings, pods: running.length };
    if (best === undefined || isBetter(candidate, best)) best = candidate;
  }
  if (best !== undefined) return { node: best.name };
  const list = [...reasons].map(([why, count]) => `${count} ${why}`).sort();
  return {
    why: `0/${nodes.length} nodes are available: ${list.join(', ') || 'there are no nodes'}.`,
  };
}

function misfitsOn(pod: Pod, node: Node, running: readonly Pod[]): string[] {
  const spec = pod.spec ?? { containers: [] };
  const why = misfit(spec, spec.tolerations ?? [], node);
  if (why !== undefined) return [`node(s) ${why}`];
  const room = Number(node.status?.allocatable?.['pods'] ?? Infinity);
  return [...(running.length >= room ? ['Too many pods'] : []), ...missingResources(spec, node, running)];
}

interface Candidate {
  readonly name: string;
  readonly siblings: number;
  readonly pods: number;
}

function isBetter(a: Candidate, b: Candidate): boolean {
  if (a.siblings !== b.siblings) return a.siblings < b.siblings;
  if (a.pods !== b.pods) return a.pods < b.pods;
  return a.name < b.name;
}
