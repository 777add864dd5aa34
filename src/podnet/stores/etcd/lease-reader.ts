import type { KeyValue } from '../../../etcd/key-value.ts';
import { readSeenLease, type ReadSeenLease } from './peer-lease.ts';

interface Known {
  readonly value: string;
  readonly about: string | undefined;
  readonly unnamedType: 'udp' | 'alloc';
  readonly read: ReadSeenLease;
}

/** Reads leases, and does not read again what it has read: every look at etcd brings all of them. */
export class LeaseReader {
  readonly #folder: string;
  readonly #known = new Map<string, Known>();

  /** `folder`: what keys of leases begin with. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  /** As `readSeenLease`. */
  read(stored: KeyValue, about: string | undefined, unnamedType: 'udp' | 'alloc'): ReadSeenLease {
    const { key, value } = stored;
    const known = this.#known.get(key);
    if (known?.value === value && known.about === about && known.unnamedType === unnamedType) {
      const { lease, problems } = known.read;
      return { lease: lease === undefined ? undefined : { ...lease, stored }, problems };
    }
    const read = readSeenLease(this.#folder, stored, about, unnamedType);
    this.#known.set(key, { value, about, unnamedType, read });
    return read;
  }

  forget(key: string): void {
    this.#known.delete(key);
  }
}
