import { createHash } from 'node:crypto';
import type { Attachment } from './protocol/request.ts';

/** The prefix by which an administrator recognises pod interfaces; Debian's bridge plugin has the same. */
const PREFIX = 'veth';

/**
 * Name of the node's end of a container's interface. It follows from the container, so that DEL, CHECK and the
 * reclaiming of addresses find it without having kept anything. 15 characters, the most that the kernel takes.
 */
export function hostVethName({ containerId, ifName }: Attachment): string {
  const hash = createHash('sha256').update(`${containerId}\n${ifName}`).digest('hex');
  return PREFIX + hash.slice(0, 15 - PREFIX.length);
}
