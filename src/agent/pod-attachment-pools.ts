import { join } from 'node:path';
import type { PodAddresses, PoolReference, PoolWish } from '../cni/pod-addresses.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Cidr } from '../net/cidr.ts';
import type { Ip } from '../net/ip.ts';
import { AddressPool, type AssignedAddress } from '../podnet/ipam/address-pool.ts';
import { AddressRangeSet } from '../podnet/ipam/address-range-set.ts';
import { AddressRange } from '../podnet/ipam/address-range.ts';
import type { Owner } from '../podnet/ipam/reservation.ts';

export interface PodPoolsOptions {
  /** host-local's: `/var/lib/cni/networks`. */
  readonly dataDir: string;
  /** Folder in it of the node's own pod CIDRs. */
  readonly networkName: string;
  /** Called when no pod CIDR has an address left; returns how many it has freed. */
  readonly reclaim: () => number;
}

/** The folders of reservations that pods have addresses from, each opened once: two indexes of one would disagree. */
export class PodPools implements PodAddresses {
  readonly #options: PodPoolsOptions;
  readonly #pools = new Map<string, AddressPool>();

  constructor(options: PodPoolsOptions) {
    this.#options = options;
  }

  /** The node's own pool; without pod CIDRs before `configure`. Throws IPAM_IO. */
  get node(): AddressPool {
    return this.#open(this.#nodeFolder);
  }

  get #nodeFolder(): string {
    return join(this.#options.dataDir, this.#options.networkName);
  }

  /** Throws IPAM_IO, POD_CIDR_TOO_SMALL. */
  configure(podCidrs: readonly Cidr[]): void {
    const path = this.#nodeFolder;
    if (String(this.#pools.get(path)?.podCidrs) === String(podCidrs)) return;
    this.#pools.set(path, AddressPool.open(path, podCidrs));
  }

  reserve(owner: Owner, requested: readonly Ip[], pool?: PoolWish): AssignedAddress[] {
    if (pool !== undefined) {
      const sets = setsOf(pool);
      return this.#open(this.#folderOf(pool)).reserve(owner, { sets, requested });
    }
    const { node } = this;
    if (node.podCidrs.length === 0)
      throw new FlatnetError('no pod CIDR yet', { code: 'NOT_READY', retryable: true });
    try {
      return node.reserve(owner, { requested });
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'POD_CIDR_EXHAUSTED') throw error;
      if (this.#options.reclaim() === 0) throw error;
      return node.reserve(owner, { requested });
    }
  }

  release(owner: Owner, pool?: PoolReference): Ip[] {
    return (pool === undefined ? this.node : this.#open(this.#folderOf(pool))).release(owner);
  }

  find(owner: Owner, pool?: PoolWish): AssignedAddress[] {
    return pool === undefined
      ? this.node.find(owner)
      : this.#open(this.#folderOf(pool)).find(owner, setsOf(pool));
  }

  owners(pool?: PoolReference): Owner[] {
    const folder = pool === undefined ? this.node : this.#open(this.#folderOf(pool));
    return folder.reservations().map(({ containerId, ifName }) => ({ containerId, ifName }));
  }

  #folderOf({ dataDir, network }: PoolReference): string {
    return join(dataDir ?? this.#options.dataDir, network);
  }

  #open(path: string): AddressPool {
    const open = this.#pools.get(path) ?? AddressPool.open(path);
    this.#pools.set(path, open);
    return open;
  }
}

/** Throws INVALID_RANGE where two sets overlap, as host-local does. */
function setsOf({ ranges }: PoolWish): AddressRangeSet[] {
  const sets = ranges.map(
    (set) => new AddressRangeSet(set.map(({ subnet, ...options }) => new AddressRange(subnet, options))),
  );
  const all = sets.flatMap((set) => set.ranges);
  for (const [index, range] of all.entries()) {
    const met = all.slice(0, index).find((other) => other.overlaps(range));
    if (met === undefined) continue;
    throw new FlatnetError(`ranges ${met.toString()} and ${range.toString()} overlap`, {
      code: 'INVALID_RANGE',
      hint: 'correct ipam.ranges of the network configuration',
    });
  }
  return sets;
}
