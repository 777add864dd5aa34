import type { Node } from 'kubernetes-types/core/v1.js';
import { Ip } from '../../../net/ip.ts';
import { withDefaultPrefix } from './annotation-prefix.ts';
import type { AnnotatedNode } from './annotations.ts';

/** What the pod network keeps of a Node object. */
export interface NodeView extends AnnotatedNode {
  readonly uid: string;
  /** status.addresses of type InternalIP that are addresses. */
  readonly internalIps: readonly Ip[];
  /** Whether the condition NetworkUnavailable is False. */
  readonly networkAvailable: boolean;
}

/** `prefix` is that of flannel's annotations, as `completePrefix` makes it. */
export function viewNode(node: Node, prefix: string): NodeView {
  const { podCIDR, podCIDRs } = node.spec ?? {};
  const since = Date.parse(node.metadata?.creationTimestamp ?? '');
  const single = podCIDR === undefined || podCIDR === '' ? [] : [podCIDR];
  return {
    name: node.metadata?.name ?? '',
    uid: node.metadata?.uid ?? '',
    podCidrs: podCIDRs === undefined || podCIDRs.length === 0 ? single : podCIDRs,
    ...(Number.isNaN(since) ? {} : { since }),
    annotations: withDefaultPrefix(node.metadata?.annotations ?? {}, prefix),
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
