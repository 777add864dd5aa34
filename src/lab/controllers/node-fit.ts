import type { Node, NodeSelectorTerm, PodSpec, Taint, Toleration } from 'kubernetes-types/core/v1.js';
import { matchesLabels, matchesRequirement } from './label-selector.ts';

export const UNSCHEDULABLE_TAINT: Taint = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };
const NOT_READY_TAINT: Taint = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' };

/** Why a pod may not run on a node, in kube-scheduler's words; undefined when it may. */
export function misfit(spec: PodSpec, tolerations: readonly Toleration[], node: Node): string | undefined {
  if (!selects(spec, node)) return "didn't match Pod's node affinity/selector";
  if (node.spec?.unschedulable === true && !isTolerated(UNSCHEDULABLE_TAINT, tolerations)) {
    return 'were unschedulable';
  }
  const taints = [...(node.spec?.taints ?? [])];
  // The taint follows the condition by a moment; the condition counts at once.
  if (!isNodeReady(node)) taints.push(NOT_READY_TAINT);
  const obstacle = taints.find(
    (taint) => taint.effect !== 'PreferNoSchedule' && !isTolerated(taint, tolerations),
  );
  if (obstacle === undefined) return undefined;
  return `had untolerated taint {${obstacle.key}: ${obstacle.value ?? ''}}`;
}

function isNodeReady(node: Node): boolean {
  return node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
}

/** nodeSelector and the required part of the node affinity. */
export function selects(spec: PodSpec, node: Node): boolean {
  if (!matchesLabels(spec.nodeSelector, node.metadata?.labels)) return false;
  const required = spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return required === undefined || required.nodeSelectorTerms.some((term) => matchesTerm(term, node));
}

function matchesTerm(term: NodeSelectorTerm, node: Node): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  // A term without requirements matches nothing.
  if (matchExpressions.length + matchFields.length === 0) return false;
  const fields = { 'metadata.name': node.metadata?.name ?? '' };
  return (
    matchExpressions.every((requirement) => matchesRequirement(requirement, node.metadata?.labels)) &&
    matchFields.every((requirement) => matchesRequirement(requirement, fields))
  );
}

export function isTolerated(taint: Taint, tolerations: readonly Toleration[]): boolean {
  return tolerations.some((toleration) => {
    if (toleration.effect !== undefined && toleration.effect !== taint.effect) return false;
    const exists = toleration.operator === 'Exists';
    // Without a key, Exists tolerates everything.
    if (toleration.key === undefined || toleration.key === '') return exists;
    if (toleration.key !== taint.key) return false;
    return exists || (toleration.value ?? '') === (taint.value ?? '');
  });
}
