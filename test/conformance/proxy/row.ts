import type { ProxyMode } from '../../../src/proxy/backend.ts';
import type { IpFamily } from '../../../src/net/ip.ts';
import type { Protocol } from '../../../src/proxy/services/service-spec.ts';
import type { TestService } from './objects.ts';

/**
 * Who calls: a pod on the node with the proxy (`pod`), another one there (`other-pod`), a pod of another node whose
 * packets come to this node (`remote-pod`), a machine that is none of the cluster's (`outside`), the node itself.
 * `pod` and `other-pod` are endpoints too: what calls a Service that leads to itself is a hairpin.
 */
export type Caller = 'pod' | 'other-pod' | 'remote-pod' | 'outside' | 'node';

/** A program that answers: on `pod`, on `other-pod`, or on the pod of the other node. */
export type EndpointName = 'pod' | 'other-pod' | 'remote-pod';

/** Which of the Service's addresses is called; node ports by the node's address of that name. */
export type Target =
  | 'cluster-ip'
  | 'external-ip'
  | 'load-balancer-ip'
  /** At the node's InternalIP. */
  | 'node-port'
  /** At an address of the same device that is none of the node's InternalIPs. */
  | 'node-port at second address'
  /** At the node's end of the pods' bridge. */
  | 'node-port at bridge'
  | 'node-port at loopback';

/**
 * Whose address the endpoint sees: the caller's own, or one of the node with the proxy. A hairpin always sees the
 * node's: an answer to its own address would never leave the endpoint.
 */
export type SourceSeen = 'caller' | 'node';

export type Outcome =
  | {
      readonly kind: 'answered';
      /** All of them answer, and nobody else. */
      readonly by: readonly EndpointName[];
      readonly source: SourceSeen;
      /** Port on which they answer; default 8080. */
      readonly port?: number;
    }
  /** The caller is told at once: refused, not timed out. `late`: when it tries for the second time. */
  | { readonly kind: 'rejected'; readonly late?: boolean }
  /** Silence. */
  | { readonly kind: 'dropped' };

/** What a mode does otherwise, and why it cannot do better. */
export interface Exception {
  readonly reason: string;
  /** What it does instead, asserted too; `untested`: nothing that could be relied on. */
  readonly instead: Outcome | 'untested';
}

export type Exceptions = Partial<Record<ProxyMode, Exception>>;

/** One call and what comes of it. */
export interface Row {
  readonly from: Caller;
  readonly to: Target;
  readonly outcome: Outcome;
  /** Default: the Service's first. */
  readonly port?: number;
  /** Default: that of the Service's first port. */
  readonly protocol?: Protocol;
  /** Default: both. */
  readonly families?: readonly IpFamily[];
  readonly except?: Exceptions;
}

/** A Service and what callers meet there. Its number comes from its place among all topics. */
export interface Topic {
  readonly service: Omit<TestService, 'number'>;
  readonly rows: readonly Row[];
}

export function answered(
  by: EndpointName | readonly EndpointName[],
  source: SourceSeen,
  port = 8080,
): Outcome {
  return { kind: 'answered', by: typeof by === 'string' ? [by] : by, source, port };
}

export const REJECTED: Outcome = { kind: 'rejected' };
export const DROPPED: Outcome = { kind: 'dropped' };

export function row(
  from: Caller,
  to: Target,
  outcome: Outcome,
  more: Omit<Row, 'from' | 'to' | 'outcome'> = {},
): Row {
  return { from, to, outcome, ...more };
}

/** Rows of several callers that meet the same. */
export function rows(
  from: readonly Caller[],
  to: Target,
  outcome: Outcome,
  more: Omit<Row, 'from' | 'to' | 'outcome'> = {},
): Row[] {
  return from.map((caller) => row(caller, to, outcome, more));
}
