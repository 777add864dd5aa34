import { INSIDE_UML } from '../../uml/uml.ts';

/** A call that has taken so long waits for nothing that others could be in the way of. */
const PATIENCE_MS = INSIDE_UML ? 5000 : 2000;
/** Of more, on a fraction of a processor, each would take longer than TCP waits until it tries again. */
const SLOTS = 16;

/** So many calls at once and no more: how long one takes then tells of the network, not of this process. */
export class CallSlots {
  #free = SLOTS;
  readonly #waiting: (() => void)[] = [];

  async use<T>(call: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let held = true;
    const release = (): void => {
      if (held) this.#release();
      held = false;
    };
    const timer = setTimeout(release, PATIENCE_MS);
    try {
      return await call();
    } finally {
      clearTimeout(timer);
      release();
    }
  }

  #release(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
