import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { IpFamily } from '../../net/ip.ts';
import { type Ip } from '../../net/ip.ts';
import { AddressRange } from './address-range.ts';

/** An address that may be handed out, with the range that it is from. */
export interface Candidate {
  readonly ip: Ip;
  readonly range: AddressRange;
}

/** Ranges of one family of which a pod gets one address: they are used up in the order of their writing. */
export class AddressRangeSet {
  readonly ranges: readonly AddressRange[];

  /** Throws INVALID_RANGE for no range, two families, or ranges that overlap. */
  constructor(ranges: readonly AddressRange[]) {
    const [first] = ranges;
    if (first === undefined) throw invalid('a set of ranges is empty');
    for (const [index, range] of ranges.entries()) {
      if (range.cidr.family !== first.cidr.family) throw invalid('a set of ranges has IPv4 and IPv6 in it');
      const met = ranges.slice(0, index).find((other) => other.overlaps(range));
      if (met !== undefined) throw invalid(`ranges ${met.toString()} and ${range.toString()} overlap`);
    }
    this.ranges = ranges;
  }

  get family(): IpFamily {
    return this.ranges[0]?.cidr.family ?? 4;
  }

  get capacity(): bigint {
    return this.ranges.reduce((sum, { capacity }) => sum + capacity, 0n);
  }

  rangeOf(ip: Ip): AddressRange | undefined {
    return this.ranges.find((range) => range.contains(ip));
  }

  /** The address that follows `ip` in the round, past the end the first one; `undefined` starts the round. */
  after(ip: Ip | undefined): Candidate | undefined {
    const at = ip === undefined ? -1 : this.ranges.findIndex((range) => range.contains(ip));
    const rest = at < 0 ? undefined : this.#candidate(at, ip);
    if (rest !== undefined) return rest;
    for (const index of this.#following(at)) {
      const found = this.#candidate(index);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  toString(): string {
    return this.ranges.join(', ');
  }

  #candidate(index: number, ip?: Ip): Candidate | undefined {
    const range = this.ranges[index];
    const next = range?.next(ip);
    return range === undefined || next === undefined ? undefined : { ip: next, range };
  }

  *#following(at: number): Iterable<number> {
    for (let step = 1; step <= this.ranges.length; step += 1) yield (at + step) % this.ranges.length;
  }
}

const invalid = (message: string): FlatnetError =>
  new FlatnetError(message, {
    code: 'INVALID_RANGE',
    hint: 'correct ipam.ranges of the network configuration',
  });
