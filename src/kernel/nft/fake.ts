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
  /** How many rules each chain has; by table. */
  readonly #chains = new Map<string, Map<string, number>>();
  readonly #setNames = new Map<string, Set<string>>();
  #generation = 1;
  /** Every transaction that was accepted, in order. */
  readonly transactions: (readonly NftChange[])[] = [];
  /** Every ruleset that was loaded, in order. */
  readonly loaded: string[] = [];
  /** The next `commit` fails with this, once. */
  failNext: FlatnetError | undefined;

  commit(changes: readonly NftChange[]): boolean {
    const failure = this.failNext;
    this.failNext = undefined;
    if (failure !== undefined) throw failure;
    if (changes.every((change) => change.operation !== 'write-chain' && change.elements.length === 0)) {
      return false;
    }
    const touched = new Map<string, Map<string, NftElement>>();
    const chains = new Map([...this.#chains].map(([table, counts]) => [table, new Map(counts)]));
    for (const change of changes) {
      if (change.operation === 'write-chain') {
        const key = tableKey(change.table);
        chains.set(
          key,
          (chains.get(key) ?? new Map<string, number>()).set(change.chain, change.rules.length),
        );
        continue;
      }
      const name = setName(change.set);
      const elements = touched.get(name) ?? new Map(this.#sets.get(name));
      touched.set(name, elements);
      for (const element of change.elements) applyOne(change, element, elements, chains);
    }
    for (const [name, elements] of touched) this.#sets.set(name, elements);
    for (const [table, counts] of chains) this.#chains.set(table, counts);
    this.#generation += 1;
    this.transactions.push(changes);
    return true;
  }

  elements(set: NftSet): NftElement[] {
    return [...(this.#sets.get(setName(set))?.values() ?? [])];
  }

  has(set: NftSet, element: NftElement): boolean {
    const found = this.#sets.get(setName(set))?.get(element.key);
    return found !== undefined && found.value === element.value;
  }

  chains(table: NftTable): string[] | undefined {
    const counts = this.#chains.get(tableKey(table));
    return counts === undefined ? undefined : [...counts.keys()];
  }

  ruleCounts(table: NftTable): ReadonlyMap<string, number> {
    return this.#chains.get(tableKey(table)) ?? new Map<string, number>();
  }

  sets(table: NftTable): string[] {
    return [...(this.#setNames.get(tableKey(table)) ?? [])];
  }

  generation(): number {
    return this.#generation;
  }

  async load(ruleset: string): Promise<void> {
    this.loaded.push(ruleset);
    this.#generation += 1;
    for (const line of ruleset.split('\n')) this.#run(line);
    return Promise.resolve();
  }

  close(): void {}

  #run(line: string): void {
    const [, verb, object, family, name, which = ''] = /^(\w+) (\w+) (\w+) (\S+)(?: (\S+))?/.exec(line) ?? [];
    const table = `${family} ${name}`;
    const chains = this.#chains.get(table) ?? new Map<string, number>();
    if (object === 'chain' || object === 'rule') this.#chains.set(table, chains);
    const count = chains.get(which) ?? 0;
    switch (`${verb} ${object}`) {
      case 'add chain':
        chains.set(which, count);
        break;
      case 'flush chain':
        chains.set(which, 0);
        break;
      case 'delete chain':
        chains.delete(which);
        break;
      case 'add rule':
        chains.set(which, count + 1);
        break;
      case 'add set':
      case 'add map':
        this.#setNames.set(table, (this.#setNames.get(table) ?? new Set()).add(which));
        break;
      default:
    }
  }
}

type Elements = Map<string, NftElement>;

function applyOne(
  change: NftElementsChange,
  element: NftElement,
  elements: Elements,
  chains: ReadonlyMap<string, ReadonlyMap<string, number>>,
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
