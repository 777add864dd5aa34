import { FlatnetError } from '../../errors/flatnet-error.ts';
import { errnoError, ERRNO } from '../libc/errno.ts';
import { MessageBuilder } from '../netlink/message.ts';
import { writeEntry } from './codec.ts';
import {
  describeIpsetChange,
  type Ipset,
  type IpsetChange,
  type IpsetKernel,
  type IpsetRefusal,
  type ObservedIpset,
} from './objects.ts';

/** Sets in memory. Nothing refers to them. */
export class FakeIpset implements IpsetKernel {
  /** Every change of entries that was asked for, as `describeIpsetChange` prints it. */
  readonly calls: string[] = [];
  readonly #sets = new Map<string, { readonly set: Ipset; entries: Set<string> }>();

  create(set: Ipset): void {
    const found = this.#sets.get(set.name)?.set;
    if (found === undefined) this.#sets.set(set.name, { set, entries: new Set() });
    else if (found.type !== set.type || (set.type !== 'bitmap:port' && found.family !== set.family)) {
      throw new FlatnetError(`create ipset ${set.name}: there is another`, { code: 'IPSET_EXISTS' });
    }
  }

  destroy(name: string): boolean {
    return this.#sets.delete(name);
  }

  sets(): ObservedIpset[] {
    return [...this.#sets.values()].map(({ set: { name, type, family }, entries }) => ({
      name,
      type,
      family: type === 'bitmap:port' ? undefined : family,
      size: entries.size,
      references: 0,
    }));
  }

  entries(name: string): string[] {
    return [...this.#find(name).entries];
  }

  apply(changes: readonly IpsetChange[]): IpsetRefusal[] {
    return changes.flatMap((change) => {
      this.calls.push(describeIpsetChange(change));
      try {
        writeEntry(new MessageBuilder(128), change.set, change.entry);
        const { entries } = this.#find(change.set.name);
        if (change.operation === 'add') entries.add(change.entry);
        else entries.delete(change.entry);
        return [];
      } catch (error) {
        if (error instanceof FlatnetError) return [{ change, error }];
        throw error;
      }
    });
  }

  flush(name: string): void {
    this.#find(name).entries.clear();
  }

  swap(one: string, other: string): void {
    const [first, second] = [this.#find(one), this.#find(other)];
    [first.entries, second.entries] = [second.entries, first.entries];
  }

  close(): void {}

  #find(name: string): { readonly set: Ipset; entries: Set<string> } {
    const found = this.#sets.get(name);
    if (found === undefined) throw errnoError(`ipset ${name}`, ERRNO.ENOENT);
    return found;
  }
}
