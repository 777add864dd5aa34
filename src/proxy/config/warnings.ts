import type { Cidr } from '../../net/cidr.ts';
import type { Ip, IpFamily } from '../../net/ip.ts';
import type { ProxyConfig } from './proxy-config.ts';

/** What the Node object says that the configuration may not fit. */
export interface NodeSide {
  readonly ips: readonly Ip[];
  readonly podCidrs: readonly Cidr[];
}

/** What is probably not as the operator wants it, for this node; a sentence each, naming the field. As kube-proxy warns. */
export function configWarnings(config: ProxyConfig, node: NodeSide): string[] {
  const bind = config.bindAddress;
  const primary = bind !== undefined && bind.value !== 0n ? bind : node.ips[0];
  const family = primary?.family ?? 4;
  return [...nodePortWarnings(config, node, family), ...localTrafficWarnings(config, node, family)];
}

function nodePortWarnings(
  { nodePortAddresses: wanted }: ProxyConfig,
  node: NodeSide,
  primary: IpFamily,
): string[] {
  if (wanted === 'primary') return [];
  if (wanted === 'all') {
    return [
      'nodePortAddresses is not set: node ports answer on every address of the node; consider ["primary"]',
    ];
  }
  const families = ([4, 6] as const).filter(
    (family) => family === primary || node.ips.some((ip) => ip.family === family),
  );
  return families
    .filter((family) => !wanted.some((cidr) => cidr.family === family))
    .map(
      (family) =>
        `nodePortAddresses names no IPv${family} network: node ports answer on every IPv${family} address of the node`,
    );
}

function localTrafficWarnings(
  { detectLocalMode: mode, clusterCIDR }: ProxyConfig,
  node: NodeSide,
  primary: IpFamily,
): string[] {
  if (mode !== 'ClusterCIDR' && mode !== 'NodeCIDR') return [];
  const [cidrs, field] =
    mode === 'ClusterCIDR' ? [clusterCIDR, 'clusterCIDR'] : [node.podCidrs, "the Node's spec.podCIDRs"];
  if (cidrs.some((cidr) => cidr.family === primary)) return [];
  return [
    `detectLocalMode is ${mode}, but ${field} names no IPv${primary} network: calls of Services from outside of the cluster are not masqueraded`,
  ];
}
