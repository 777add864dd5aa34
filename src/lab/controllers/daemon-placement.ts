import type { Node, NodeSelectorTerm, Pod, PodSpec, Toleration } from 'kubernetes-types/core/v1.js';
import { isTolerated, selects, UNSCHEDULABLE_TAINT } from './node-fit.ts';

/** What every daemon pod tolerates besides its own tolerations, as Kubernetes' controller adds it. */
function addedTolerations(spec: PodSpec): Toleration[] {
  return [
    tolerate('not-ready', 'NoExecute'),
    tolerate('unreachable', 'NoExecute'),
    tolerate('disk-pressure', 'NoSchedule'),
    tolerate('memory-pressure', 'NoSchedule'),
    tolerate('pid-pressure', 'NoSchedule'),
    tolerate('unschedulable', 'NoSchedule'),
    ...(spec.hostNetwork === true ? [tolerate('network-unavailable', 'NoSchedule')] : []),
  ];
}

function tolerate(name: string, effect: string): Toleration {
  return { key: `node.kubernetes.io/${name}`, operator: 'Exists', effect };
}

function tolerationsOf(spec: PodSpec): Toleration[] {
  return [...(spec.tolerations ?? []), ...addedTolerations(spec)];
}

/** Whether the node gets a pod; one that is not ready for the moment does, and the pod waits for it. */
export function isEligible(spec: PodSpec, node: Node): boolean {
  if (node.metadata?.deletionTimestamp !== undefined) return false;
  if (spec.nodeName !== undefined && spec.nodeName !== node.metadata?.name) return false;
  if (!selects(spec, node)) return false;
  const tolerations = tolerationsOf(spec);
  if (node.spec?.unschedulable === true && !isTolerated(UNSCHEDULABLE_TAINT, tolerations)) return false;
  return (node.spec?.taints ?? [])
    .filter(({ key, effect }) => effect !== 'PreferNoSchedule' && !isPassing(key))
    .every((taint) => isTolerated(taint, tolerations));
}

/** Taints of a condition that comes and goes: the scheduler heeds them, the number of pods does not. */
function isPassing(key: string): boolean {
  return key === 'node.kubernetes.io/not-ready' || key === 'node.kubernetes.io/unreachable';
}

/** The pod's spec bound to one node by affinity, so that the scheduler still has the last word. */
export function pin(spec: PodSpec, node: string): PodSpec {
  const matchFields = [{ key: 'metadata.name', operator: 'In', values: [node] }];
  const terms =
    spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  const nodeSelectorTerms: NodeSelectorTerm[] = terms?.map((term) => ({ ...term, matchFields })) ?? [
    { matchFields },
  ];
  return {
    ...spec,
    tolerations: tolerationsOf(spec),
    affinity: {
      ...spec.affinity,
      nodeAffinity: {
        ...spec.affinity?.nodeAffinity,
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms },
      },
    },
  };
}

/** The node that a daemon pod runs on or is pinned to. */
export function placement(pod: Pod): string {
  if (pod.spec?.nodeName !== undefined) return pod.spec.nodeName;
  const required = pod.spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  for (const term of required?.nodeSelectorTerms ?? []) {
    const field = term.matchFields?.find(({ key }) => key === 'metadata.name');
    if (field?.values?.[0] !== undefined) return field.values[0];
  }
  return '';
}
