import type { Node } from 'kubernetes-types/core/v1.js';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';

/** What the proxy needs to know of its Node object. */
export interface NodeFacts {
  /** The first address and the first one of the other family, InternalIPs before ExternalIPs: the node's addresses. */
  readonly ips: readonly Ip[];
  /** spec.podCIDRs. */
  readonly podCidrs: readonly Cidr[];
  /** Label topology.kubernetes.io/zone. */
  readonly zone: string | undefined;
  /**
   * False where load balancers should send nothing new: the node is being deleted, or the cluster autoscaler has
   * announced that it will be.
   */
  readonly eligible: boolean;
}

/** Set by the cluster autoscaler; kube-proxy's /healthz looks at it too (KEP-3836). */
const TO_BE_DELETED = 'ToBeDeletedByClusterAutoscaler';
const ZONE = 'topology.kubernetes.io/zone';

export function projectNode(node: Node): NodeFacts {
  const { podCIDR, podCIDRs, taints } = node.spec ?? {};
  const cidrs = podCIDRs ?? (podCIDR === undefined ? [] : [podCIDR]);
  return {
    ips: nodeIps(node),
    podCidrs: cidrs.flatMap((cidr) => Cidr.tryParse(cidr) ?? []),
    zone: node.metadata?.labels?.[ZONE],
    eligible:
      node.metadata?.deletionTimestamp === undefined &&
      taints?.some((taint) => taint.key === TO_BE_DELETED) !== true,
  };
}

function nodeIps(node: Node): Ip[] {
  const addresses = node.status?.addresses ?? [];
  const ips = ['InternalIP', 'ExternalIP'].flatMap((wanted) =>
    addresses.flatMap(({ type, address }) => (type === wanted ? (Ip.tryParse(address) ?? []) : [])),
  );
  const [first] = ips;
  if (first === undefined) return [];
  const second = ips.find((ip) => ip.family !== first.family);
  return second === undefined ? [first] : [first, second];
}
