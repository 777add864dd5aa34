import type { ProxyMode } from '../../../src/proxy/backend.ts';
import type { IpFamily } from '../../../src/net/ip.ts';

/**
 * Who calls: a pod on the node with the proxy (`pod`), another one there (`other-pod`), a pod of another node whose
 * packets come to this node (`remote-pod`), a machine that is none of the cluster's (`outside`), the node itself.
 * `pod` and `other-pod` are endpoints too: what calls a Service that leads to itself is a hairpin.
 */
export type Caller = 'pod' | 'other-pod' | 'remote-pod' | 'outside' | 'node';

/** A program that answers: on `pod`, on `other-pod`, or on the pod of the other node. */
export type EndpointName = 'pod' | 'other-pod' | 'remote-pod';

/** Whose address the endpoint sees: the caller's own, or one of the node with the proxy. */
export type SourceSeen = 'caller' | 'node';

export type Outcome =
  | {
      readonly kind: 'answered';
      /** All of them answer, and nobody else. */
      readonly by: readonly EndpointName[];
      readonly source: SourceSeen;
    }
  /** The caller is told at once: refused, not timed out. */
  | { readonly kind: 'rejected' }
  /** Silence. */
  | { readonly kind: 'dropped' };

/** What a mode does otherwise, and why it cannot do better. */
export interface Exception {
  readonly reason: string;
  /** What it does instead, asserted too; `untested`: nothing that could be relied on. */
  readonly instead: Outcome | 'untested';
  /** Only in this family. */
  readonly family?: IpFamily;
}

export type Exceptions = Partial<Record<ProxyMode, Exception>>;
