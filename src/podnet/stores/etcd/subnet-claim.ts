import type { Condition } from '../../../etcd/transaction.ts';
import type { SeenLease } from './lease-decision.ts';
import { guardKey, leasePrefix, sameSubnetNames, subnetName, type Subnets } from './subnet-key.ts';

export interface Claim {
  /** What must hold at the moment of the transaction so that nobody else has one of the subnets. */
  readonly conditions: readonly Condition[];
  /** A key that every claim of the same IPv6 subnet writes; it must not have been written since the leases were seen. */
  readonly guard: string | undefined;
}

/**
 * Names begin with the IPv4 subnet, so that claims of one exclude each other by the range of names that begin with it.
 * Which names end with an IPv6 subnet no condition of etcd can say: a key of its own stands for it.
 */
export function claimOf(prefix: string, subnets: Subnets, givesUp: readonly SeenLease[]): Claim {
  const folder = leasePrefix(prefix);
  const v4 = subnets.get(4);
  const v6 = subnets.get(6);
  if (v4 === undefined)
    return { conditions: [{ type: 'absent', key: folder + subnetName(subnets) }], guard: undefined };
  const names = sameSubnetNames(v4);
  const to = folder + names.to;
  // Leases of this node that the same transaction deletes lie within the range, where only a family is new.
  const own = givesUp.map(({ stored }) => stored.key).toSorted();
  const conditions: Condition[] = [];
  let from = folder + names.from;
  for (const key of own.filter((one) => one >= from && one < to)) {
    if (key > from) conditions.push({ type: 'none-in', from, to: key });
    from = `${key}\0`;
  }
  conditions.push({ type: 'none-in', from, to });
  return { conditions, guard: v6 === undefined ? undefined : guardKey(prefix, v6) };
}
