import type { Cidr } from '../net/cidr.ts';
import type { Ip, IpFamily } from '../net/ip.ts';

/** What a node holds of one address family. */
export interface FamilyLease {
  /** The node's pods have addresses from here. */
  readonly podCidr: Cidr;
  /** Where the node is reached on the underlay. */
  readonly publicIp: Ip;
}

/** One backend by which a node can be reached. */
export interface Offer {
  /** flannel's backend type. */
  readonly type: string;
  /**
   * What the backend has to know of the node, by family: flannel's BackendData, as JSON gives it (null: nothing).
   * Stores carry it unopened; only a backend of the type reads it.
   */
  readonly data: ReadonlyMap<IpFamily, unknown>;
}

/** A node's part of the pod network: what flannel calls a lease. */
export interface NodeLease {
  readonly node: string;
  /** What people call the node, where the store's own name for it is another. */
  readonly alias?: string;
  /** The one that the node wants first, which is all that flannel knows; more while a cluster changes its backend. */
  readonly offers: readonly [Offer, ...Offer[]];
  readonly families: ReadonlyMap<IpFamily, FamilyLease>;
  /** The node with the smaller number came to the cluster first: milliseconds since 1970, or a revision of the store. */
  readonly since?: number;
  /** Bytes that the node's underlay carries; known of Flatnet's nodes only. */
  readonly underlayMtu?: number;
  /** False while it may still send to some node by a backend that it is about to leave. */
  readonly met?: boolean;
}
