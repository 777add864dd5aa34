import type { NodeLease } from '../podnet/node-lease.ts';

/**
 * The smallest underlay of all nodes that tell it, the own one among them, bytes. Where two nodes of one subnet have
 * different MTUs there is no router between them that could tell by ICMP what does not fit: it would be lost unseen.
 */
export function smallestMtu(own: number, leases: Iterable<NodeLease>): number {
  let smallest = own;
  for (const { underlayMtu } of leases)
    if (underlayMtu !== undefined && underlayMtu < smallest) smallest = underlayMtu;
  return smallest;
}
