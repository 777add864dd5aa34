import type { FlatnetError } from '../../errors/flatnet-error.ts';
import type { IpFamily } from '../../net/ip.ts';

// The objects of ipset(8).

export type IpsetType = 'hash:ip' | 'hash:ip,port' | 'hash:ip,port,ip' | 'hash:ip,port,net' | 'bitmap:port';

export interface Ipset {
  /** At most 31 bytes. */
  readonly name: string;
  readonly type: IpsetType;
  /** Of the addresses; sets of ports serve both. */
  readonly family: IpFamily;
}

export interface ObservedIpset {
  readonly name: string;
  /** As the kernel says it: one of IpsetType, or another. */
  readonly type: string;
  /** Undefined for sets of ports. */
  readonly family: IpFamily | undefined;
  /** How many entries it has; undefined where the kernel (before 4.9) does not tell. */
  readonly size: number | undefined;
  /** How many rules look at it. */
  readonly references: number;
}

/**
 * Entries are written as `ipset list` prints them, the same text for the same entry: `10.96.0.1`, `10.96.0.1,tcp:80`,
 * `10.244.1.2,tcp:8080,10.244.1.2`, `192.0.2.1,tcp:80,198.51.100.0/24`, `30080`.
 */
export interface IpsetChange {
  /** Adding what is there and deleting what is not are no errors. */
  readonly operation: 'add' | 'delete';
  readonly set: Ipset;
  readonly entry: string;
}

export interface IpsetRefusal {
  readonly change: IpsetChange;
  readonly error: FlatnetError;
}

/** The sets of one network namespace. Calls are synchronous; errors are FlatnetErrors whose code is the kernel's. */
export interface IpsetKernel {
  /** Makes the set; one that is there with the same type and family stays as it is. Throws IPSET_EXISTS for another. */
  create(set: Ipset): void;
  /** False when it is not there. Throws IPSET_BUSY while a rule looks at it. */
  destroy(name: string): boolean;
  sets(): ObservedIpset[];
  /** Throws ENOENT when there is no such set. */
  entries(name: string): string[];
  /** Makes the changes in their order, each by itself; returns those that the kernel refused. */
  apply(changes: readonly IpsetChange[]): IpsetRefusal[];
  flush(name: string): void;
  /** Each gets the other's entries, at once. */
  swap(one: string, other: string): void;
  close(): void;
}

/** One line for a change, as a log or a dry run prints it. */
export function describeIpsetChange({ operation, set, entry }: IpsetChange): string {
  return `${operation === 'add' ? '+' : '-'} ${set.name} ${entry}`;
}
