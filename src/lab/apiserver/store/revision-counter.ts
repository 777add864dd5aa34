/** The one counter behind every resourceVersion. */
export class RevisionCounter {
  #current: number;

  constructor(start = 1) {
    this.#current = start;
  }

  /**
   * For a server without memory of its former lives: starts at the clock's milliseconds, so that versions from
   * before a restart are older than all new ones and their watchers are sent to list anew.
   */
  static fromClock(): RevisionCounter {
    return new RevisionCounter(Date.now());
  }

  get current(): number {
    return this.#current;
  }

  next(): number {
    this.#current += 1;
    return this.#current;
  }
}
