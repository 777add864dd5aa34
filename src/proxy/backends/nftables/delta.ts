import type { NftChange, NftElement, NftSet } from '../../../kernel/nft/objects.ts';
import { PackedElements } from '../../../kernel/nft/packed-elements.ts';

interface SetDelta {
  readonly set: NftSet;
  /** What is there and shall go; key to value. */
  readonly remove: Map<string, string | undefined>;
  readonly add: Map<string, string | undefined>;
}

/** What plans tell their elements to. */
export interface ElementSink {
  add(set: NftSet, key: string, value?: string): void;
}

/**
 * The difference between all that is and all that shall be. Each element that shall be is told once, after all that
 * is. Bytes, not maps: at the first sync there are a hundred thousand additions.
 */
export class CompleteDelta implements ElementSink {
  readonly #observed = new Map<NftSet, Map<string, string | undefined>>();
  readonly #removed = new Map<NftSet, PackedElements>();
  readonly #added = new Map<NftSet, PackedElements>();

  readonly #replaced: boolean;

  /** `replaced`: what is there goes with its table, so that all that shall be is to be added. */
  constructor(replaced: boolean) {
    this.#replaced = replaced;
  }

  observe(set: NftSet, elements: readonly NftElement[]): void {
    this.#observed.set(set, new Map(elements.map(({ key, value }) => [key, value])));
  }

  /** What the set holds at a key and nobody has asked for yet. */
  observed(set: NftSet, key: string): string | undefined {
    return this.#observed.get(set)?.get(key);
  }

  add(set: NftSet, key: string, value?: string): void {
    const observed = this.#replaced ? undefined : this.#observed.get(set);
    if (observed?.has(key) === true) {
      const old = observed.get(key);
      observed.delete(key);
      if (old === value) return;
      append(this.#removed, set, key);
    }
    append(this.#added, set, key, value);
  }

  /** Whether there is nothing that could stay or go. */
  get isFirst(): boolean {
    return !this.#replaced && [...this.#observed.values()].every(({ size }) => size === 0);
  }

  /** Additions since the last call, where there are nothing but additions (`isFirst`). */
  takeAdditions(): NftChange[] {
    const additions = additionsOf(this.#added);
    this.#added.clear();
    return additions;
  }

  /** Deletions, of what nobody asked for too, before additions. */
  changes(): NftChange[] {
    for (const [set, rest] of this.#replaced ? [] : this.#observed) {
      for (const key of rest.keys()) append(this.#removed, set, key);
    }
    return [
      ...[...this.#removed].map(([set, elements]) => ({ operation: 'delete' as const, set, elements })),
      ...additionsOf(this.#added),
    ];
  }
}

function additionsOf(added: ReadonlyMap<NftSet, PackedElements>): NftChange[] {
  return [...added].map(([set, elements]) => ({ operation: 'add' as const, set, elements }));
}

function append(into: Map<NftSet, PackedElements>, set: NftSet, key: string, value = ''): void {
  let list = into.get(set);
  if (list === undefined) into.set(set, (list = new PackedElements(key.length, value.length)));
  list.push(key, value);
}

/**
 * The difference between what is and what shall be: tell it what is there (`remove`) and what shall be (`add`), in any
 * order; what is the same on both sides cancels out.
 */
export class ElementDelta implements ElementSink {
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
