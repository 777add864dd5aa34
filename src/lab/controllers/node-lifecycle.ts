import type { Node, NodeCondition, Pod, Taint } from 'kubernetes-types/core/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { refOf } from '../../cluster/kube-object.ts';
import { NODES, PODS } from '../../cluster/resource-type.ts';
import { byNode, type ControllerContext } from './context.ts';
import { kubeTime } from './kube-time.ts';
import { isReady, isTerminal } from './pod-state.ts';
import { sameJson } from './same-json.ts';

const LEASE_NAMESPACE = 'kube-node-lease';
/** Conditions that a kubelet reports and nobody else does. */
const KUBELET_CONDITIONS = ['Ready', 'MemoryPressure', 'DiskPressure', 'PIDPressure'];
/** Taints that follow from conditions; all others are somebody else's. */
const OWN_TAINTS = new Set(
  ['not-ready', 'unreachable', 'unschedulable', 'network-unavailable'].map(
    (name) => `node.kubernetes.io/${name}`,
  ),
);

/**
 * Notices nodes whose kubelet has stopped renewing its lease, and makes what is known of every node's
 * readiness into taints and into the readiness of its pods.
 */
export function startNodeLifecycle(context: ControllerContext, graceMs: number): void {
  const { views } = context;
  const lifecycle = new NodeLifecycle(context, graceMs);
  const queue = context.queue(
    'node-lifecycle',
    async (name) => {
      const recheckMs = await lifecycle.sync(name);
      if (recheckMs !== undefined) queue.addAfter(name, recheckMs);
    },
    2,
  );
  views.nodes.onChange((now, before) => {
    if (now !== undefined && (before === undefined || !sameJson(facts(now), facts(before)))) {
      queue.add(now.metadata?.name ?? '');
    }
  });
  views.leases.onChange((now) => {
    if (now?.metadata?.namespace !== LEASE_NAMESPACE) return;
    const name = now.metadata.name ?? '';
    // Only a node that is thought dead is looked at again for a renewal: its timer covers the others.
    if (readyCondition(views.nodes.get(name) ?? {})?.status === 'Unknown') queue.add(name);
  });
  // A pod that reports from a dead node's last breath.
  views.pods.onChange((now) => {
    const node = now?.spec?.nodeName;
    if (now === undefined || node === undefined || !isReady(now)) return;
    if (readyCondition(views.nodes.get(node) ?? {})?.status === 'Unknown') queue.add(node);
  });
}

class NodeLifecycle {
  readonly #context: ControllerContext;
  readonly #graceMs: number;
  readonly #recorder: ReturnType<ControllerContext['recorder']>;
  /** Begin of watching: a lease that is old when the controllers start gets its grace again. */
  readonly #started = Date.now();

  constructor(context: ControllerContext, graceMs: number) {
    this.#context = context;
    this.#graceMs = graceMs;
    this.#recorder = context.recorder('node-controller');
  }

  /** Resolves to the milliseconds after which the node has to be looked at again. */
  async sync(name: string): Promise<number | undefined> {
    const { nodes } = this.#context.views;
    const node = nodes.get(name);
    if (node === undefined) return undefined;
    const left = this.#lastSign(node) + this.#graceMs - Date.now();
    if (left <= 0 && readyCondition(node)?.status !== 'Unknown') await this.#declareDead(node);
    const current = nodes.get(name) ?? node;
    await this.#taint(current);
    if (readyCondition(current)?.status !== 'True') await this.#unreadyPods(name);
    return left > 0 ? left + 1 : undefined;
  }

  #lastSign(node: Node): number {
    const lease = this.#context.views.leases.get(`${LEASE_NAMESPACE}/${node.metadata?.name ?? ''}`);
    const times = [
      lease?.spec?.renewTime,
      readyCondition(node)?.lastHeartbeatTime,
      node.metadata?.creationTimestamp,
    ].map((time) => (time === undefined ? 0 : Date.parse(time)));
    return Math.max(this.#started, ...times);
  }

  async #declareDead(node: Node): Promise<void> {
    const { client, views, signal } = this.#context;
    const now = kubeTime();
    const conditions = KUBELET_CONDITIONS.map((type): NodeCondition => {
      const known = node.status?.conditions?.find((condition) => condition.type === type);
      return {
        type,
        status: 'Unknown',
        reason: known === undefined ? 'NodeStatusNeverUpdated' : 'NodeStatusUnknown',
        message:
          known === undefined ? 'Kubelet never posted node status.' : 'Kubelet stopped posting node status.',
        lastTransitionTime: now,
        ...(known?.lastHeartbeatTime === undefined ? {} : { lastHeartbeatTime: known.lastHeartbeatTime }),
      };
    });
    this.#recorder.record(
      node,
      'Normal',
      'NodeNotReady',
      `Node ${node.metadata?.name ?? ''} status is now: NodeNotReady`,
    );
    const body = { status: { conditions } };
    const options = { subresource: 'status', signal };
    views.nodes.written(await client.patch(NODES, refOf(node), { type: 'strategic', body }, options));
  }

  async #taint(node: Node): Promise<void> {
    const { client, views, signal } = this.#context;
    const known = node.spec?.taints ?? [];
    const wanted = wantedTaints(node, known);
    if (sameJson(known, wanted)) return;
    const path = '/spec/taints';
    // Heartbeats change the version all the time; what must not have changed is the list of taints.
    const test = known.length === 0 ? [] : [{ op: 'test', path, value: known } as const];
    const body = [...test, { op: 'add', path, value: wanted } as const];
    views.nodes.written(await client.patch(NODES, refOf(node), { type: 'json', body }, { signal }));
  }

  /** The kubelet reports its pods' readiness anew when it is back. */
  async #unreadyPods(node: string): Promise<void> {
    for (const pod of this.#context.views.pods.find(byNode(node))) {
      if (isReady(pod) && !isTerminal(pod)) await this.#unready(pod);
    }
  }

  async #unready(pod: Pod): Promise<void> {
    const { client, views, signal } = this.#context;
    const condition = { type: 'Ready', status: 'False', lastTransitionTime: kubeTime() };
    const body = { status: { conditions: [condition] } };
    const options = { subresource: 'status', signal };
    try {
      views.pods.written(await client.patch(PODS, refOf(pod), { type: 'strategic', body }, options));
      this.#recorder.record(pod, 'Warning', 'NodeNotReady', 'Node is not ready');
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
    }
  }
}

function readyCondition(node: Node): NodeCondition | undefined {
  return node.status?.conditions?.find(({ type }) => type === 'Ready');
}

/** What of a node this controller looks at; heartbeats are left out. */
function facts(node: Node): unknown {
  const conditions = node.status?.conditions?.map(({ type, status }) => [type, status]);
  return [conditions, node.spec?.taints, node.spec?.unschedulable];
}

/** Pure: the node's taints as its conditions want them; those that stay keep their time and place. */
function wantedTaints(node: Node, known: readonly Taint[]): Taint[] {
  const status = (type: string): string | undefined =>
    node.status?.conditions?.find((condition) => condition.type === type)?.status;
  const ready = status('Ready');
  const wanted: [name: string, effect: string][] = [];
  if (ready === 'Unknown') wanted.push(['unreachable', 'NoSchedule'], ['unreachable', 'NoExecute']);
  else if (ready !== 'True') wanted.push(['not-ready', 'NoSchedule'], ['not-ready', 'NoExecute']);
  if (node.spec?.unschedulable === true) wanted.push(['unschedulable', 'NoSchedule']);
  if (status('NetworkUnavailable') === 'True') wanted.push(['network-unavailable', 'NoSchedule']);
  const keys = new Set(wanted.map(([name, effect]) => `node.kubernetes.io/${name} ${effect}`));
  const kept = known.filter(({ key, effect }) => !OWN_TAINTS.has(key) || keys.delete(`${key} ${effect}`));
  const timeAdded = kubeTime();
  const added = [...keys].map((text): Taint => {
    const [key = '', effect = ''] = text.split(' ');
    return effect === 'NoExecute' ? { key, effect, timeAdded } : { key, effect };
  });
  return [...kept, ...added];
}
