import { FlatnetError } from '../../errors/flatnet-error.ts';
import {
  setName,
  type NftChange,
  type NftElement,
  type NftElementsChange,
  type NftKernel,
  type NftSet,
  type NftTable,
} from './objects.ts';

/**
 * nf_tables in memory, for tests: sets with elements and the names of chains, with the kernel's refusals (EEXIST,
 * ENOENT, transactions that leave nothing behind). It does not evaluate rules.
 */
export class FakeNft implements NftKernel {
  readonly #sets = new Map<string, Map<string, NftElement>>();
  readonly #chains = new Map<string, Set<string>>();
  #generation = 1;
  /** Every transaction that was accepted, in order. */
  readonly transactions: (readonly NftChange[])[] = [];
  /** Every ruleset that was loaded, in order. */
  readonly loaded: string[] = [];
  /** The next `commit` fails with this, once. */
  failNext: FlatnetError | undefined;

  commit(changes: readonly NftChange[]): void {
    const failure = this.failNext;
    this.failNext = undefined;
    if (failure !== undefined) throw failure;
    const touched = new Map<string, Map<string, NftElement>>();
    const chains = new Map([...this.#chains].map(([table, names]) => [table, new Set(names)]));
    for (const change of changes) {
      if (change.operation === 'write-chain') {
        const key = tableKey(change.table);
        chains.set(key, (chains.get(key) ?? new Set()).add(change.chain));
        continue;
      }
      const name = setName(change.set);
      const elements = touched.get(name) ?? new Map(this.#sets.get(name));
      touched.set(name, elements);
      for (const element of change.elements) applyOne(change, element, elements, chains);
    }
    for (const [name, elements] of touched) this.#sets.set(name, elements);
    for (const [table, names] of chains) this.#chains.set(table, names);
    this.#generation += 1;
    this.transactions.push(changes);
  }

  elements(set: NftSet): NftElement[] {
    return [...(this.#sets.get(setName(set))?.values() ?? [])];
  }

  has(set: NftSet, element: NftElement): boolean {
    const found = this.#sets.get(setName(set))?.get(element.key);
    return found !== undefined && found.value === element.value;
  }

  chains(table: NftTable): string[] | undefined {
    const names = this.#chains.get(tableKey(table));
    return names === undefined ? undefined : [...names];
  }

  generation(): number {
    return this.#generation;
  }

  async load(ruleset: string): Promise<void> {
    this.loaded.push(ruleset);
    this.#generation += 1;
    for (const [, family, name, chain] of ruleset.matchAll(/^(?:add|create) chain (\w+) (\S+) (\S+)/gm)) {
      const key = `${family} ${name}`;
      this.#chains.set(key, (this.#chains.get(key) ?? new Set()).add(chain ?? ''));
    }
    for (const [, family, name, chain] of ruleset.matchAll(/^delete chain (\w+) (\S+) (\S+)/gm)) {
      this.#chains.get(`${family} ${name}`)?.delete(chain ?? '');
    }
    return Promise.resolve();
  }

  close(): void {}
}

type Elements = Map<string, NftElement>;

function applyOne(
  change: NftElementsChange,
  element: NftElement,
  elements: Elements,
  chains: ReadonlyMap<string, ReadonlySet<string>>,
): void {
  const known = elements.get(element.key);
  const refuse = (code: string): FlatnetError =>
    new FlatnetError(`${change.operation} element in set ${setName(change.set)}: ${code}`, { code });
  if (change.operation === 'add') {
    if (known !== undefined && known.value !== element.value) throw refuse('EEXIST');
    const chain = change.set.kind === 'vmap' ? element.value?.split(' ')[1] : undefined;
    if (chain !== undefined && chains.get(tableKey(change.set.table))?.has(chain) !== true) {
      throw refuse('ENOENT');
    }
    elements.set(element.key, element);
  } else if (!elements.delete(element.key) && change.operation === 'delete') throw refuse('ENOENT');
}

const tableKey = (table: NftTable): string => `${table.family} ${table.name}`;
