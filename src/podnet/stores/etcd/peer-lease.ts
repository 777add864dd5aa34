import type { KeyValue } from '../../../etcd/key-value.ts';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { FamilyLease, NodeLease } from '../../node-lease.ts';
import { isUnmet, readUnderlayMtu } from '../kubernetes/own-annotations.ts';
import type { SeenLease } from './lease-decision.ts';
import { parseLeaseValue, type LeaseValue } from './lease-value.ts';
import { parseSubnetName } from './subnet-key.ts';

export interface ReadSeenLease {
  /** Undefined for a key that is no subnet. */
  readonly lease: SeenLease | undefined;
  /** Naming key and field. */
  readonly problems: readonly FlatnetError[];
}

/** What a key below `subnets/` says; `about` is what stands beside it. */
export function readSeenLease(
  prefix: string,
  stored: KeyValue,
  about: string | undefined,
  unnamedType: 'udp' | 'alloc',
): ReadSeenLease {
  const subnets = parseSubnetName(stored.key.slice(prefix.length));
  if (subnets === undefined) {
    const problem = new FlatnetError(`etcd ${stored.key}: is not the name of a subnet`, {
      code: 'INVALID_LEASE',
      hint: 'write it like 10.5.52.0-24, for two families 10.5.52.0-24&fc00:5:0:1::-64',
    });
    return { lease: undefined, problems: [problem] };
  }
  let value: LeaseValue | undefined;
  const problems: FlatnetError[] = [];
  try {
    value = parseLeaseValue(stored.key, stored.value, unnamedType);
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    problems.push(error);
  }
  return { lease: { stored, subnets, value, owner: ownerOf(about) }, problems };
}

function ownerOf(about: string | undefined): string | undefined {
  if (about === undefined) return undefined;
  try {
    const { node } = JSON.parse(about) as { node?: unknown };
    return typeof node === 'string' ? node : undefined;
  } catch {
    // Not ours: then the lease is as one of flannel's.
    return undefined;
  }
}

/** What is known beside a lease. */
export interface PeerContext {
  /** What the node tells of itself. */
  readonly about: string | undefined;
  readonly networks: ReadonlyMap<IpFamily, Cidr>;
  /** Older leases that have the subnet of a family, too. */
  readonly heldBefore: ReadonlyMap<IpFamily, SeenLease>;
}

/** Another node's lease as backends take it. A family that is wrong, or another node's, is left out and told. */
export function peerLease(
  node: string,
  { stored, subnets, value, owner }: SeenLease,
  { about, networks, heldBefore }: PeerContext,
): { lease: NodeLease | undefined; problems: FlatnetError[] } {
  if (value === undefined) return { lease: undefined, problems: [] };
  const problems: FlatnetError[] = [];
  const families = new Map<IpFamily, FamilyLease>();
  for (const [family, podCidr] of subnets) {
    const network = networks.get(family);
    const publicIp = value.publicIps.get(family);
    const before = heldBefore.get(family);
    if (network === undefined) continue;
    const field = family === 4 ? 'Network' : 'IPv6Network';
    if (!network.contains(podCidr)) {
      problems.push(
        new FlatnetError(
          `etcd ${stored.key}: ${podCidr.toString()} is not within ${field} ${network.toString()}`,
          {
            code: 'INVALID_LEASE',
            hint: `it is left over from another ${field}; its node takes another one, else it ends by itself`,
          },
        ),
      );
    } else if (publicIp === undefined) {
      problems.push(
        new FlatnetError(`etcd ${stored.key}: ${family === 4 ? 'PublicIP' : 'PublicIPv6'} is missing`, {
          code: 'INVALID_LEASE',
          hint: 'the node has no address of that family on the interface that carries the cluster',
        }),
      );
    } else if (before !== undefined) problems.push(claimedTwice(stored.key, podCidr, before));
    else families.set(family, { podCidr, publicIp });
  }
  if (families.size === 0) return { lease: undefined, problems };
  const underlayMtu = readUnderlayMtu(about);
  const told = {
    ...(underlayMtu === undefined ? {} : { underlayMtu }),
    ...(isUnmet(about) ? { met: false } : {}),
  };
  const [publicIp] = value.publicIps.values();
  const alias = owner ?? publicIp?.toString() ?? node;
  const since = stored.createRevision;
  return { lease: { node, alias, offers: value.offers, families, since, ...told }, problems };
}

function claimedTwice(key: string, podCidr: Cidr, { stored, value, owner }: SeenLease): FlatnetError {
  const [publicIp] = value?.publicIps.values() ?? [];
  const who = owner ?? publicIp?.toString() ?? 'unreadable';
  return new FlatnetError(
    `etcd ${key}: ${podCidr.toString()} is in the older lease ${stored.key} of ${who}, too: it is left to that node, and pods with addresses of it on the other are not reached`,
    {
      code: 'SUBNET_HELD_TWICE',
      hint: 'flanneld does not see a claim of the same moment that differs in the other family: delete the newer lease and start its flanneld again',
    },
  );
}
