import { FlatnetError } from '../../errors/flatnet-error.ts';
import { type Ip } from '../../net/ip.ts';

/** Whom an address belongs to: CNI_CONTAINERID and CNI_IFNAME. */
export interface Owner {
  readonly containerId: string;
  readonly ifName: string;
}

/** One address held for one interface of one container; on disk one file named like the address. */
export interface Reservation extends Owner {
  readonly ip: Ip;
}

/** Line break of host-local's files (plugins/ipam/host-local/backend/disk/backend.go). */
const LINE_BREAK = '\r\n';

export const ownerKey = (owner: Owner): string => `${owner.containerId}${LINE_BREAK}${owner.ifName}`;

/** Content of a reservation file. Refuses names that would not read back as they were written. */
export function formatOwner(owner: Owner): string {
  for (const [field, value] of [
    ['CNI_CONTAINERID', owner.containerId],
    ['CNI_IFNAME', owner.ifName],
  ] as const) {
    if (value === '' || /[\s/]/.test(value)) {
      throw new FlatnetError(`${field} ${JSON.stringify(value)} cannot own an address`, {
        code: 'INVALID_OWNER',
        hint: 'a container id and an interface name have no white space and no slash',
      });
    }
  }
  return ownerKey(owner);
}

/**
 * Owner written in a reservation file. Before host-local 0.8 the file held the container id alone: the interface
 * name is then empty. Undefined for an empty file, which a crash between creating and writing leaves behind.
 */
export function parseOwner(text: string): Owner | undefined {
  const [containerId = '', ifName = ''] = text.trim().split(/\r?\n/);
  if (containerId.trim() === '') return undefined;
  return { containerId: containerId.trim(), ifName: ifName.trim() };
}
