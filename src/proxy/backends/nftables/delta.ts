import type { NftChange, NftElement, NftSet } from '../../../kernel/nft/objects.ts';

interface SetDelta {
  readonly set: NftSet;
  /** What is there and shall go; key to value. */
  readonly remove: Map<string, string | undefined>;
  readonly add: Map<string, string | undefined>;
}

/**
 * The difference between what is and what shall be: tell it what is there (`remove`) and what shall be (`add`), in any
 * order; what is the same on both sides cancels out.
 */
export class ElementDelta {
  readonly #sets = new Map<NftSet, SetDelta>();

  remove(set: NftSet, key: string, value?: string): void {
    const delta = this.#of(set);
    if (delta.add.has(key) && delta.add.get(key) === value) delta.add.delete(key);
    else delta.remove.set(key, value);
  }

  add(set: NftSet, key: string, value?: string): void {
    const delta = this.#of(set);
    if (delta.remove.has(key) && delta.remove.get(key) === value) delta.remove.delete(key);
    else delta.add.set(key, value);
  }

  /** Deletions before additions: the same key may get another value. */
  changes(): NftChange[] {
    const deltas = [...this.#sets.values()];
    return [
      ...deltas.map(({ set, remove }) => change('delete', set, remove)),
      ...deltas.map(({ set, add }) => change('add', set, add)),
    ].filter(({ elements }) => elements.length > 0);
  }

  #of(set: NftSet): SetDelta {
    let delta = this.#sets.get(set);
    if (delta === undefined) this.#sets.set(set, (delta = { set, remove: new Map(), add: new Map() }));
    return delta;
  }
}

function change(operation: 'add' | 'delete', set: NftSet, entries: Map<string, string | undefined>) {
  const elements: NftElement[] = [];
  for (const [key, value] of entries) elements.push(value === undefined ? { key } : { key, value });
  return { operation, set, elements };
}
