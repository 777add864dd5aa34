import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Cidr } from '../../../net/cidr.ts';
import type { SeenLease } from './lease-decision.ts';
import type { Subnets } from './subnet-key.ts';

/** What it means that a node has another subnet than before; undefined when it has not, or had none. */
export function subnetLost(
  before: Subnets | undefined,
  now: Subnets,
  leases: readonly SeenLease[],
): FlatnetError | undefined {
  for (const [family, old] of before ?? []) {
    const subnet = now.get(family);
    if (subnet?.equals(old) === true) continue;
    const instead = subnet === undefined ? 'has none of that family now' : `has ${subnet.toString()} now`;
    return new FlatnetError(
      `this node no longer holds the subnet ${old.toString()}${ownerOf(old, leases)}, and ${instead}: pods that run here with addresses of the old one are not reachable from other nodes, until they are made anew`,
      {
        code: 'SUBNET_LOST',
        hint: 'delete the pods of this node (kubectl drain), or restart its containers',
      },
    );
  }
  return undefined;
}

function ownerOf(subnet: Cidr, leases: readonly SeenLease[]): string {
  const owner = leases.find(({ subnets }) => subnets.get(subnet.family)?.overlaps(subnet));
  if (owner === undefined) return '';
  const [ip] = owner.value?.publicIps.values() ?? [];
  return ` (etcd ${owner.stored.key}, ${ip === undefined ? 'unreadable' : `of ${ip.toString()}`})`;
}
