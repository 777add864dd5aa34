import type { Node } from 'kubernetes-types/core/v1.js';
import { Ip } from '../../../net/ip.ts';
import { ANNOTATION_PREFIX, type AnnotatedNode } from './annotations.ts';

/** What the pod network keeps of a Node object. */
export interface NodeView extends AnnotatedNode {
  readonly uid: string;
  /** status.addresses of type InternalIP that are addresses. */
  readonly internalIps: readonly Ip[];
  /** Whether the condition NetworkUnavailable is False. */
  readonly networkAvailable: boolean;
}

export function viewNode(node: Node): NodeView {
  const annotations = Object.entries(node.metadata?.annotations ?? {});
  const { podCIDR, podCIDRs } = node.spec ?? {};
  const single = podCIDR === undefined || podCIDR === '' ? [] : [podCIDR];
  return {
    name: node.metadata?.name ?? '',
    uid: node.metadata?.uid ?? '',
    podCidrs: podCIDRs === undefined || podCIDRs.length === 0 ? single : podCIDRs,
    annotations: Object.fromEntries(annotations.filter(([name]) => name.startsWith(ANNOTATION_PREFIX))),
    internalIps: (node.status?.addresses ?? [])
      .filter(({ type }) => type === 'InternalIP')
      .flatMap(({ address }) => Ip.tryParse(address) ?? []),
    networkAvailable: (node.status?.conditions ?? []).some(
      ({ type, status }) => type === 'NetworkUnavailable' && status === 'False',
    ),
  };
}

/** Whether everything that the pod network reads is the same: a heartbeat changes a Node, but not this. */
export function sameView(a: NodeView, b: NodeView): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
