/**
 * Numbers of service ports. One that is given back is given out again at the earliest in the next update, after all
 * others that are free: a packet on its way while a transaction is committed may find the number in one map before it
 * and look it up in another map after it.
 */
export class ServiceNumbers {
  #next = 1;
  #free: number[] = [];
  #returned: number[] = [];

  /** Begins anew: all numbers are free but these. */
  reset(taken: ReadonlySet<number>): void {
    this.#next = 1;
    this.#free = [];
    this.#returned = [];
    for (const number of taken) this.#next = Math.max(this.#next, number + 1);
    for (let number = 1; number < this.#next; number += 1) if (!taken.has(number)) this.#free.push(number);
  }

  take(): number {
    const free = this.#free.shift();
    if (free !== undefined) return free;
    this.#next += 1;
    return this.#next - 1;
  }

  giveBack(number: number): void {
    this.#returned.push(number);
  }

  /** What was given back so far may be taken again. */
  settle(): void {
    if (this.#returned.length === 0) return;
    this.#free.push(...this.#returned);
    this.#returned = [];
  }
}
