import type { Cidr } from '../net/cidr.ts';
import type { Ip, IpFamily } from '../net/ip.ts';
import type { Mac } from '../net/mac.ts';

/** The far end of a VXLAN tunnel. */
export interface Vtep {
  /** Absent where an old flannel did not publish it. */
  readonly vni: number | undefined;
  readonly mac: Mac;
}

/** What a node holds of one address family. */
export interface FamilyLease {
  /** The node's pods have addresses from here. */
  readonly podCidr: Cidr;
  /** Where the node is reached on the underlay. */
  readonly publicIp: Ip;
  /** Only with backend vxlan. */
  readonly vtep: Vtep | undefined;
}

/** A node's part of the pod network: what flannel calls a lease. */
export interface NodeLease {
  readonly node: string;
  readonly backendType: string;
  readonly families: ReadonlyMap<IpFamily, FamilyLease>;
}
