import type { Ip } from '../net/ip.ts';
import type { ContainerAddress } from './protocol/result.ts';
import type { Attachment } from './protocol/request.ts';

/** Where pods get their addresses from. */
export interface PodAddresses {
  /** One address of each family, all or none. Throws POD_CIDR_EXHAUSTED, DUPLICATE_ADD, IPAM_IO. */
  reserve(owner: Attachment): readonly ContainerAddress[];
  /** Returns what was freed; nothing is no error. */
  release(owner: Attachment): readonly Ip[];
  find(owner: Attachment): readonly ContainerAddress[];
}
