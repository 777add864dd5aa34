import type { ServiceConflict } from './backend.ts';
import type { ServicePort } from './services/service-port.ts';

/** A key that a service port asked for while another one had it. */
export interface RefusedClaim {
  readonly id: string;
  readonly key: string;
  /** The key in words: ServiceConflict's `what`. */
  readonly what: string;
}

/**
 * Who has which key of a map: two Services with the same address and port (one being deleted while the other is
 * made, or a mistake) must not overwrite each other. The first has it; the next in line gets it when it is free.
 */
export class Claims {
  readonly #owners = new Map<string, string>();
  readonly #waiting = new Map<string, Map<string, ServicePort>>();

  owner(key: string): string | undefined {
    return this.#owners.get(key);
  }

  /** True when `port` has the key now; else it waits for it. */
  take(key: string, port: ServicePort): boolean {
    const owner = this.#owners.get(key) ?? port.id;
    if (owner === port.id) {
      this.#owners.set(key, port.id);
      return true;
    }
    const waiting = this.#waiting.get(key) ?? new Map<string, ServicePort>();
    this.#waiting.set(key, waiting.set(port.id, port));
    return false;
  }

  /** Gives keys back. */
  release(keys: readonly string[], id: string): void {
    for (const key of keys) if (this.#owners.get(key) === id) this.#owners.delete(key);
  }

  /** Ends all waiting of a service port. */
  forget(id: string): void {
    for (const [key, waiting] of this.#waiting) {
      if (waiting.delete(id) && waiting.size === 0) this.#waiting.delete(key);
    }
  }

  isWaiting(key: string, id: string): boolean {
    return this.#waiting.get(key)?.has(id) === true;
  }

  /** Those of the refused that still wait, each service port and place once. */
  conflicts(refused: readonly RefusedClaim[]): ServiceConflict[] {
    const conflicts = new Map<string, ServiceConflict>();
    for (const { id, key, what } of refused) {
      const owner = this.owner(key);
      if (owner === undefined || !this.isWaiting(key, id)) continue;
      conflicts.set(`${id} ${what}`, { id, owner, what });
    }
    return [...conflicts.values()];
  }

  /** Who waits first for a key, if nobody has it. */
  heir(key: string): ServicePort | undefined {
    return this.#owners.has(key) ? undefined : this.#waiting.get(key)?.values().next().value;
  }
}
