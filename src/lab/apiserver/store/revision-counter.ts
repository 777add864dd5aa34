/** The one counter behind every resourceVersion. */
export class RevisionCounter {
  #current = 1;

  get current(): number {
    return this.#current;
  }

  next(): number {
    this.#current += 1;
    return this.#current;
  }
}
