/** Chains of kube-proxy's userspace mode (release 1.25, pkg/proxy/userspace), and two more: it refused nothing. */
export const CHAINS = {
  /** Service addresses, from pods and from outside. */
  portalsContainer: 'KUBE-PORTALS-CONTAINER',
  /** Service addresses, from the node itself. */
  portalsHost: 'KUBE-PORTALS-HOST',
  nodePortContainer: 'KUBE-NODEPORT-CONTAINER',
  nodePortHost: 'KUBE-NODEPORT-HOST',
  /** Lets in what was led to the ports of the proxy, and nothing else to them. */
  nonLocal: 'KUBE-NODEPORT-NON-LOCAL',
  /** Service addresses that no rule of the nat table took. */
  portalsFirewall: 'KUBE-PORTALS-FIREWALL',
  nodePortFirewall: 'KUBE-NODEPORT-FIREWALL',
} as const;

export type NatChain =
  | typeof CHAINS.portalsContainer
  | typeof CHAINS.portalsHost
  | typeof CHAINS.nodePortContainer
  | typeof CHAINS.nodePortHost;
export type FilterChain =
  | typeof CHAINS.nonLocal
  | typeof CHAINS.portalsFirewall
  | typeof CHAINS.nodePortFirewall;

export const NAT_CHAINS: readonly NatChain[] = [
  CHAINS.portalsContainer,
  CHAINS.portalsHost,
  CHAINS.nodePortContainer,
  CHAINS.nodePortHost,
];
export const FILTER_CHAINS: readonly FilterChain[] = [
  CHAINS.nonLocal,
  CHAINS.portalsFirewall,
  CHAINS.nodePortFirewall,
];
