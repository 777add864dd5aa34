import { Cidr } from '../../net/cidr.ts';

/** Parts of equal size of one range, each given away at most once. */
export class CidrPool {
  readonly range: Cidr;
  readonly #partLength: number;
  readonly #used = new Set<bigint>();
  #next = 0n;

  constructor(range: Cidr, partLength: number) {
    this.range = range;
    this.#partLength = partLength;
  }

  /** The next free part, turning at the end of the range so that a freed one rests; undefined when all are used. */
  take(): Cidr | undefined {
    const count = 1n << BigInt(this.#partLength - this.range.prefixLength);
    if (BigInt(this.#used.size) >= count) return undefined;
    while (this.#used.has(this.#next)) this.#next = (this.#next + 1n) % count;
    const index = this.#next;
    this.#used.add(index);
    this.#next = (index + 1n) % count;
    return new Cidr(this.range.ip.plus(index * this.#partSize()), this.#partLength);
  }

  /** Marks the parts that `cidr` covers as used; one outside of the range is none of ours. */
  occupy(cidr: Cidr): void {
    for (const index of this.#indexes(cidr)) this.#used.add(index);
  }

  release(cidr: Cidr): void {
    for (const index of this.#indexes(cidr)) this.#used.delete(index);
  }

  *#indexes(cidr: Cidr): Generator<bigint> {
    if (!this.range.overlaps(cidr)) return;
    const size = this.#partSize();
    const last =
      (cidr.last.value < this.range.last.value ? cidr.last.value : this.range.last.value) -
      this.range.ip.value;
    const first = cidr.ip.value > this.range.ip.value ? cidr.ip.value - this.range.ip.value : 0n;
    for (let index = first / size; index <= last / size; index += 1n) yield index;
  }

  #partSize(): bigint {
    return 1n << BigInt((this.range.family === 4 ? 32 : 128) - this.#partLength);
  }
}
