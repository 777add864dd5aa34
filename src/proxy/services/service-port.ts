import type { IpFamily } from '../../net/ip.ts';
import type { Protocol } from './service-spec.ts';

export interface ServiceEndpoint {
  readonly address: string;
  readonly port: number;
  /** On this node. */
  readonly local: boolean;
}

/** One port of a Service in one address family: what a backend balances. */
export interface ServicePort {
  /** `namespace/name:80/TCP/4`. */
  readonly id: string;
  /** `namespace/name`. */
  readonly service: string;
  readonly family: IpFamily;
  readonly protocol: Protocol;
  /** ClusterIP. */
  readonly address: string;
  readonly port: number;
  /** 0: none. */
  readonly nodePort: number;
  /** For how many seconds a client stays with its endpoint; 0: not at all. */
  readonly affinitySeconds: number;
  /** Those that get connections now; no two are the same. */
  readonly endpoints: readonly ServiceEndpoint[];
}

export interface ServicePortChange {
  readonly id: string;
  /** Undefined: it is gone. */
  readonly port: ServicePort | undefined;
}
