import type { Ipset, IpsetType } from '../../../kernel/ipset/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';

/** What the sets are for, in kube-proxy's words (pkg/proxy/ipvs/ipset.go): they stand in the rules as comments. */
const SETS = {
  loopBack: [
    'KUBE-LOOP-BACK',
    'hash:ip,port,ip',
    'Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose',
  ],
  clusterIp: [
    'KUBE-CLUSTER-IP',
    'hash:ip,port',
    'Kubernetes service cluster ip + port for masquerade purpose',
  ],
  externalIp: [
    'KUBE-EXTERNAL-IP',
    'hash:ip,port',
    'Kubernetes service external ip + port for masquerade and filter purpose',
  ],
  externalIpLocal: [
    'KUBE-EXTERNAL-IP-LOCAL',
    'hash:ip,port',
    'Kubernetes service external ip + port with externalTrafficPolicy=local',
  ],
  loadBalancer: ['KUBE-LOAD-BALANCER', 'hash:ip,port', 'Kubernetes service lb portal'],
  loadBalancerFirewall: [
    'KUBE-LOAD-BALANCER-FW',
    'hash:ip,port',
    'Kubernetes service load balancer ip + port for load balancer with sourceRange',
  ],
  loadBalancerLocal: [
    'KUBE-LOAD-BALANCER-LOCAL',
    'hash:ip,port',
    'Kubernetes service load balancer ip + port with externalTrafficPolicy=local',
  ],
  loadBalancerSourceIp: [
    'KUBE-LOAD-BALANCER-SOURCE-IP',
    'hash:ip,port,ip',
    'Kubernetes service load balancer ip + port + source IP for packet filter purpose',
  ],
  loadBalancerSourceCidr: [
    'KUBE-LOAD-BALANCER-SOURCE-CIDR',
    'hash:ip,port,net',
    'Kubernetes service load balancer ip + port + source cidr for packet filter purpose',
  ],
  nodePortTcp: ['KUBE-NODE-PORT-TCP', 'bitmap:port', 'Kubernetes nodeport TCP port for masquerade purpose'],
  nodePortLocalTcp: [
    'KUBE-NODE-PORT-LOCAL-TCP',
    'bitmap:port',
    'Kubernetes nodeport TCP port with externalTrafficPolicy=local',
  ],
  nodePortUdp: ['KUBE-NODE-PORT-UDP', 'bitmap:port', 'Kubernetes nodeport UDP port for masquerade purpose'],
  nodePortLocalUdp: [
    'KUBE-NODE-PORT-LOCAL-UDP',
    'bitmap:port',
    'Kubernetes nodeport UDP port with externalTrafficPolicy=local',
  ],
  nodePortSctp: [
    'KUBE-NODE-PORT-SCTP-HASH',
    'hash:ip,port',
    "Kubernetes nodeport SCTP port for masquerade purpose with type 'hash ip:port'",
  ],
  nodePortLocalSctp: [
    'KUBE-NODE-PORT-LOCAL-SCTP-HASH',
    'hash:ip,port',
    "Kubernetes nodeport SCTP port with externalTrafficPolicy=local with type 'hash ip:port'",
  ],
  healthCheckNodePort: ['KUBE-HEALTH-CHECK-NODE-PORT', 'bitmap:port', 'Kubernetes health check node port'],
  serviceIps: ['KUBE-IPVS-IPS', 'hash:ip', 'Addresses of all services'],
  // Not kube-proxy's, whose ipvs mode does not tell such traffic apart.
  noEndpoints: ['KUBE-NO-ENDPOINTS', 'hash:ip,port', 'service ip + port without endpoints'],
  noLocal: [
    'KUBE-NO-LOCAL-ENDPOINTS',
    'hash:ip,port',
    'service ip + port whose policy admits none of its endpoints',
  ],
  noLocalExternal: [
    'KUBE-NO-LOCAL-EXTERNAL',
    'hash:ip,port',
    'external ip + port without local endpoints for traffic from outside',
  ],
} as const satisfies Readonly<Record<string, readonly [name: string, type: IpsetType, comment: string]>>;

export type SetPurpose = keyof typeof SETS;
export const SET_PURPOSES = Object.keys(SETS) as SetPurpose[];

/** Longest name of a set (IPSET_MAXNAMELEN without the NUL). */
const NAME_MAX = 31;

/** The set of a family: in IPv6 the names begin with `KUBE-6-`, cut off where they would be too long. */
export function setOf(purpose: SetPurpose, family: IpFamily): Ipset {
  const [name, type] = SETS[purpose];
  return { name: family === 4 ? name : name.replace('KUBE-', 'KUBE-6-').slice(0, NAME_MAX), type, family };
}

export function commentOf(purpose: SetPurpose): string {
  return SETS[purpose][2];
}

/** Those of kube-proxy 1.36 and before that are not used any more, and these: all that the mode may have left. */
export function allSetNames(family: IpFamily): string[] {
  return SET_PURPOSES.map((purpose) => setOf(purpose, family).name);
}
