import type { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Cidr } from '../../net/cidr.ts';
import type { Ip, IpFamily } from '../../net/ip.ts';
import type { NodeAbout } from '../node-about.ts';
import type { NodeLease, Offer } from '../node-lease.ts';

/** What the store knows of this node. */
export interface OwnNode {
  readonly name: string;
  /** What the node's pods get their addresses from; a family that is not assigned yet is missing. */
  readonly podCidrs: ReadonlyMap<IpFamily, Cidr>;
  /** Kubernetes: status.addresses of type InternalIP. */
  readonly internalIps: readonly Ip[];
  /** The offer that an earlier run of this node has published: a MAC is kept over restarts. */
  readonly published: Offer | undefined;
  /** The address that an administrator wants published in place of the interface's. */
  readonly publicIpOverwrites: ReadonlyMap<IpFamily, Ip>;
  /** What of the above could not be understood, each naming object and field; the rest holds. */
  readonly problems: readonly FlatnetError[];
}

/** What this node tells the others. */
export interface Publication {
  readonly offers: readonly [Offer, ...Offer[]];
  readonly publicIps: ReadonlyMap<IpFamily, Ip>;
  /** Where the store has room for it: what flannel's format does not say. */
  readonly about?: NodeAbout;
}

/** Called synchronously; must not throw. */
export interface LeaseStoreHandler {
  /** This node as the store knows it; undefined while it knows none. */
  self(node: OwnNode | undefined): void;
  /** Another node's lease; undefined when it has none (any more). */
  peer(node: string, lease: NodeLease | undefined, problems: readonly FlatnetError[]): void;
  /** Every node has been told once. */
  synced(): void;
}

/**
 * Where nodes find each other. While the store is away the last known state stays. Implementations: Kubernetes (node
 * annotations) and etcd (flannel's keys).
 */
export interface LeaseStore {
  readonly hasSynced: boolean;
  /** Why the store cannot be followed at the moment. */
  readonly failure: unknown;
  /**
   * Whether the store has told back what was published last, as far as others reach the node by it: from then on they
   * hear of it, too. `self` is called when that becomes so.
   */
  readonly isPublished: boolean;
  /**
   * Keeps this node's part published, also when somebody removes it. In etcd this is what asks for a subnet: before
   * the first call `self` has no pod CIDRs there.
   */
  publish(publication: Publication): void;
  /** Pods may be scheduled on this node now. */
  markAvailable(): void;
  /** Follows the cluster until the signal is aborted; never rejects. */
  run(handler: LeaseStoreHandler, signal: AbortSignal): Promise<void>;
}
