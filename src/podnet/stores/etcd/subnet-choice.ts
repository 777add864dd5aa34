import { Cidr } from '../../../net/cidr.ts';
import { type Ip, type IpFamily } from '../../../net/ip.ts';
import { isOfRange, subnetCount, type SubnetRange } from '../../subnet-range.ts';
import type { Subnets } from './subnet-key.ts';

export type SubnetRanges = ReadonlyMap<IpFamily, SubnetRange>;

/** Drawn from the first that are free (flannel: a hundred), so that nodes which start together seldom want the same. */
const CANDIDATES = 1000;

/** Whether the subnets are what a node may have now: of every family that there is, and of no other. */
export function isCompatible(ranges: SubnetRanges, subnets: Subnets): boolean {
  if (subnets.size !== ranges.size) return false;
  return [...ranges].every(([family, range]) => {
    const subnet = subnets.get(family);
    return subnet !== undefined && isOfRange(range, subnet);
  });
}

/**
 * Subnets for a node that overlap none of `taken`. The first wish that is free is fulfilled as far as it can be, else
 * it is drawn. Undefined when a family has none left. `random` gives numbers in [0, 1).
 */
export function chooseSubnets(
  ranges: SubnetRanges,
  taken: readonly Subnets[],
  wishes: readonly Subnets[],
  random: () => number,
): Subnets | undefined {
  const free = new Map([...ranges].map(([family, range]) => [family, new FreeSubnets(range, taken)]));
  for (const wish of wishes) {
    const numbers = new Map<IpFamily, bigint>();
    for (const [family, subnets] of free) {
      const number = subnets.numberOf(wish.get(family));
      if (number !== undefined) numbers.set(family, number);
    }
    if (numbers.size > 0) return complete(free, numbers, random);
  }
  return complete(free, new Map(), random);
}

/** Draws what is missing: at best the same number in every family, so that people see what belongs together. */
function complete(
  free: ReadonlyMap<IpFamily, FreeSubnets>,
  numbers: Map<IpFamily, bigint>,
  random: () => number,
): Subnets | undefined {
  const missing = [...free].filter(([family]) => !numbers.has(family));
  const known = [...numbers.values()][0];
  const all = missing.map(([, subnets]) => subnets);
  const common = known === undefined ? draw(numbersFreeInAll(all), random) : known;
  for (const [family, subnets] of missing) {
    const number =
      common !== undefined && subnets.isFree(common) ? common : draw(numbersFreeInAll([subnets]), random);
    if (number === undefined) return undefined;
    numbers.set(family, number);
  }
  return new Map([...free].map(([family, subnets]) => [family, subnets.at(numbers.get(family) ?? 0n)]));
}

function numbersFreeInAll(subnets: readonly FreeSubnets[]): bigint[] {
  const found: bigint[] = [];
  const count = subnets.reduce<bigint | undefined>(
    (least, { size }) => (least === undefined || size < least ? size : least),
    undefined,
  );
  for (let number = 0n; number < (count ?? 0n) && found.length < CANDIDATES; number += 1n) {
    if (subnets.every((one) => one.isFree(number))) found.push(number);
  }
  return found;
}

const draw = (numbers: readonly bigint[], random: () => number): bigint | undefined =>
  numbers[Math.floor(random() * numbers.length)];

/** The subnets of a range by number, and which of them nobody has. */
class FreeSubnets {
  readonly size: bigint;
  readonly #range: SubnetRange;
  readonly #bits: bigint;
  /** Numbers that somebody has, and stretches of them that a larger subnet covers. */
  readonly #taken = new Set<bigint>();
  readonly #stretches: { readonly from: bigint; readonly to: bigint }[] = [];

  constructor(range: SubnetRange, taken: readonly Subnets[]) {
    this.#range = range;
    this.#bits = BigInt((range.family === 4 ? 32 : 128) - range.prefixLength);
    this.size = subnetCount(range);
    for (const subnets of taken) {
      const subnet = subnets.get(range.family);
      if (subnet === undefined) continue;
      const [from, to] = [this.#number(subnet.first), this.#number(subnet.last)];
      if (from === to) this.#taken.add(from);
      else this.#stretches.push({ from, to });
    }
  }

  at(number: bigint): Cidr {
    return new Cidr(this.#range.first.plus(number << this.#bits), this.#range.prefixLength);
  }

  isFree(number: bigint): boolean {
    if (number < 0n || number >= this.size || this.#taken.has(number)) return false;
    return !this.#stretches.some(({ from, to }) => number >= from && number <= to);
  }

  /** Undefined when it is not free, or not of this range. */
  numberOf(subnet: Cidr | undefined): bigint | undefined {
    if (subnet === undefined || !isOfRange(this.#range, subnet)) return undefined;
    const number = this.#number(subnet.first);
    return this.isFree(number) ? number : undefined;
  }

  /** Negative for addresses before the range: an arithmetic shift rounds down. */
  #number(ip: Ip): bigint {
    return (ip.value - this.#range.first.value) >> this.#bits;
  }
}
