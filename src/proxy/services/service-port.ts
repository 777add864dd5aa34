import type { IpFamily } from '../../net/ip.ts';
import type { Protocol } from './service-spec.ts';

export interface ServiceEndpoint {
  readonly address: string;
  readonly port: number;
  /** On this node. */
  readonly local: boolean;
}

/**
 * One port of a Service in one address family: what a backend balances. Which endpoints count, by readiness, topology
 * and traffic policy, is decided here and the same for every backend (kube-proxy 1.36, pkg/proxy/topology.go).
 */
export interface ServicePort {
  /** `namespace/name:80/TCP/4`. */
  readonly id: string;
  /** `namespace/name`. */
  readonly service: string;
  /** Name of the port; empty for the only port of a Service. */
  readonly portName: string;
  readonly family: IpFamily;
  readonly protocol: Protocol;
  /** ClusterIP. */
  readonly address: string;
  readonly port: number;
  /** 0: none. */
  readonly nodePort: number;
  readonly externalIps: readonly string[];
  /** Ingress addresses of a load balancer that leaves the destination as it is (ipMode VIP). */
  readonly loadBalancerIps: readonly string[];
  /** Prefixes that may use the load balancer's addresses; undefined: everybody; empty: nobody. */
  readonly sourceRanges: readonly string[] | undefined;
  /** internalTrafficPolicy Local: the ClusterIP leads to `localEndpoints` only. */
  readonly internalLocal: boolean;
  /**
   * externalTrafficPolicy Local: from outside, node port, external and load balancer addresses lead to
   * `localEndpoints` only, and the client's address stays. Pods and the node itself still reach all (`endpoints`).
   */
  readonly externalLocal: boolean;
  /** Where a load balancer asks whether this node has endpoints of the Service; 0: nowhere. */
  readonly healthCheckNodePort: number;
  /** For how many seconds a client stays with its endpoint; 0: not at all. */
  readonly affinitySeconds: number;
  /**
   * Those that get connections under the policy Cluster; no two are the same. Empty for a port that the policy makes
   * local and that nothing but its ClusterIP leads to, as nothing asks for them.
   */
  readonly endpoints: readonly ServiceEndpoint[];
  /** Those that get connections under the policy Local. Empty for a port that no policy makes local. */
  readonly localEndpoints: readonly ServiceEndpoint[];
  /**
   * Whether anything anywhere could take a connection. Without: traffic is rejected. With, but without an endpoint that
   * the policy admits: it is dropped, so that a load balancer tries another node.
   */
  readonly hasEndpoints: boolean;
}

export interface ServicePortChange {
  readonly id: string;
  /** Undefined: it is gone. */
  readonly port: ServicePort | undefined;
}
