import type { KeyValue } from '../../../etcd/key-value.ts';
import { isDeepStrictEqual } from 'node:util';
import type { Publication } from '../lease-store.ts';
import type { LeaseValue } from './lease-value.ts';
import { chooseSubnets, isCompatible, type SubnetRanges } from './subnet-choice.ts';
import { subnetName, type Subnets } from './subnet-key.ts';

/** A lease as it stands in etcd. */
export interface SeenLease {
  readonly stored: KeyValue;
  readonly subnets: Subnets;
  /** Undefined for a value that cannot be read; the subnet is taken all the same. */
  readonly value: LeaseValue | undefined;
  /** The node that it is of, by name; known of Flatnet's nodes only. */
  readonly owner: string | undefined;
}

export const isReservation = ({ stored }: SeenLease): boolean => stored.leaseId === '0';

/** What a node does about its lease. */
export type Decision =
  /** The lease is there; its value may have to be written anew. */
  | { readonly type: 'hold'; readonly lease: SeenLease }
  /** Claim `subnets`; leases of this node that do not fit (any more) are given up. */
  | { readonly type: 'claim'; readonly subnets: Subnets; readonly givesUp: readonly SeenLease[] }
  /** Nothing is free. */
  | { readonly type: 'full' };

export interface Situation {
  readonly nodeName: string;
  readonly ranges: SubnetRanges;
  readonly leases: readonly SeenLease[];
  readonly publication: Publication;
  /** The lease that this node held last, in this run: its name, and the value that this node wrote. */
  readonly held: { readonly subnets: Subnets; readonly value: string } | undefined;
  /** Whether it was claimed a moment ago: nothing much is lost when it is given up. */
  readonly isFresh: boolean;
  /** What subnet.env tells of an earlier run. */
  readonly previous: Subnets | undefined;
  readonly random: () => number;
}

/**
 * Whether this node gives its lease up for another that has a subnet of it, too, which only a flanneld can have
 * brought about, as it claims the name of both families as a whole: the older lease stands; but a flanneld never gives
 * way, so this node does so as long as it costs nothing. What an administrator reserved stays.
 */
function yields(lease: SeenLease, others: readonly SeenLease[], { held, isFresh }: Situation): boolean {
  if (isReservation(lease)) return false;
  const mayYield = isFresh && held !== undefined && subnetName(held.subnets) === subnetName(lease.subnets);
  return others.some(
    (other) =>
      [...lease.subnets].some(([family, subnet]) => other.subnets.get(family)?.overlaps(subnet) === true) &&
      (other.stored.createRevision < lease.stored.createRevision || (mayYield && other.owner === undefined)),
  );
}

/**
 * As flannel: the lease with this node's public IP, else the subnets that it had before, else free ones. Where several
 * have its public IP: the one held now, else a reservation, else the one it had before.
 */
export function decide(situation: Situation): Decision {
  const { ranges, leases, held, previous, random } = situation;
  const own = leases.filter((lease) => isOwn(lease, situation));
  const heldName = held === undefined ? undefined : subnetName(held.subnets);
  const previousName = previous === undefined ? undefined : subnetName(previous);
  const rank = (lease: SeenLease): number => {
    const name = subnetName(lease.subnets);
    if (name === heldName) return 0;
    if (isReservation(lease)) return 1;
    return name === previousName ? 2 : 3;
  };
  const others = leases.filter((one) => !own.includes(one));
  const [lease] = own
    .filter((one) => isCompatible(ranges, one.subnets) && !yields(one, others, situation))
    .toSorted((a, b) => rank(a) - rank(b));
  if (lease !== undefined) return { type: 'hold', lease };

  // A reservation is the administrator's: it stays, also where the network's configuration no longer fits it.
  const givesUp = own.filter((one) => !isReservation(one));
  const taken = leases.filter((one) => !givesUp.includes(one)).map(({ subnets }) => subnets);
  const wishes = [held?.subnets, ...givesUp.map(({ subnets }) => subnets), previous].filter(
    (wish) => wish !== undefined,
  );
  const subnets = chooseSubnets(ranges, taken, wishes, random);
  return subnets === undefined ? { type: 'full' } : { type: 'claim', subnets, givesUp };
}

/**
 * By the public IP, as long as the lease does not name another node: two nodes with one address must not share a
 * subnet, too. One that has another address is still this node's if this very run wrote it (the address has
 * changed), or if it is the previous subnet and tells the same MAC or public key.
 */
function isOwn(lease: SeenLease, { nodeName, publication, held, previous }: Situation): boolean {
  if (lease.value === undefined) return false;
  const family = publication.publicIps.has(4) ? 4 : 6;
  const ip = publication.publicIps.get(family);
  const theirs = lease.value.publicIps.get(family);
  const isOthers = lease.owner !== undefined && lease.owner !== nodeName;
  if (ip !== undefined && theirs?.equals(ip) === true && !isOthers) return true;
  const name = subnetName(lease.subnets);
  if (held !== undefined && name === subnetName(held.subnets) && lease.stored.value === held.value)
    return true;
  if (previous === undefined || name !== subnetName(previous)) return false;
  const [mine, written] = [publication.offers[0].data, lease.value.offers[0].data];
  return [...mine].some(
    ([each, data]) => data !== null && data !== undefined && isDeepStrictEqual(data, written.get(each)),
  );
}
