import type { Ip } from '../net/ip.ts';
import type { IpamRange } from './protocol/ipam-config.ts';
import type { ContainerAddress } from './protocol/result.ts';
import type { Attachment } from './protocol/request.ts';

/** Where the reservations of a network are kept that is not the node's own: `<dataDir>/<network>`. */
export interface PoolReference {
  readonly network: string;
  /** The agent's own when undefined. */
  readonly dataDir: string | undefined;
}

/** One address of each set. */
export interface PoolWish extends PoolReference {
  readonly ranges: readonly (readonly IpamRange[])[];
}

/** Where pods get their addresses from. Without `pool` it is the node's pod CIDRs. */
export interface PodAddresses {
  /**
   * One address of each family (or set), all or none; `requested` must be among them. Throws POD_CIDR_EXHAUSTED,
   * DUPLICATE_ADD, ADDRESS_IN_USE, ADDRESS_NOT_IN_RANGE, INVALID_RANGE, IPAM_IO, NOT_READY.
   */
  reserve(owner: Attachment, requested: readonly Ip[], pool?: PoolWish): readonly ContainerAddress[];
  /** Returns what was freed; nothing is no error. Throws IPAM_IO. */
  release(owner: Attachment, pool?: PoolReference): readonly Ip[];
  /** By the disk's own word. */
  find(owner: Attachment, pool?: PoolWish): readonly ContainerAddress[];
  /** Everybody who holds an address there; names are empty where the file does not say them. Throws IPAM_IO. */
  owners(pool?: PoolReference): readonly Attachment[];
}
