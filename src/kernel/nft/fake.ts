import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { NftRule } from './expression.ts';
import {
  isElementsChange,
  setName,
  tableName,
  type NftChange,
  type NftElement,
  type NftElementsChange,
  type NftForeignChange,
  type NftKernel,
  type NftSet,
  type NftTable,
} from './objects.ts';

interface FakeTable {
  readonly chains: Map<string, readonly NftRule[]>;
  readonly sets: Map<string, Map<string, NftElement>>;
}

/**
 * nf_tables in memory, for tests: tables, chains with their rules, sets with elements, and the kernel's refusals
 * (EEXIST, ENOENT, transactions that leave nothing behind). It does not evaluate rules.
 */
export class FakeNft implements NftKernel {
  #tables = new Map<string, FakeTable>();
  #generation = 1;
  readonly #watchers = new Set<{
    readonly tables: ReadonlySet<string>;
    readonly changed: (what: NftForeignChange) => void;
  }>();
  /** Every transaction that was accepted, in order. */
  readonly transactions: (readonly NftChange[])[] = [];
  /** Every ruleset that was loaded, in order; what is in it is not looked at. */
  readonly loaded: string[] = [];
  /** The next `commit` fails with this, once. */
  failNext: FlatnetError | undefined;

  commit(changes: readonly NftChange[]): boolean {
    const failure = this.failNext;
    this.failNext = undefined;
    if (failure !== undefined) throw failure;
    if (!this.#apply(changes)) return false;
    this.transactions.push(changes);
    return true;
  }

  async commitAside(changes: readonly NftChange[]): Promise<boolean> {
    return Promise.resolve().then(() => this.commit(changes));
  }

  /** As `commit` of somebody else. */
  commitElsewhere(changes: readonly NftChange[]): void {
    if (!this.#apply(changes)) return;
    const touched = new Set(
      changes.map((change) => tableName('table' in change ? change.table : change.set.table)),
    );
    const what = changes.every(isElementsChange) ? 'elements' : 'structure';
    for (const { tables, changed } of this.#watchers) {
      if ([...touched].some((table) => tables.has(table))) changed(what);
    }
  }

  elements(set: NftSet): NftElement[] {
    const elements = this.#tables.get(tableName(set.table))?.sets.get(set.name);
    if (elements === undefined) throw refusal(`read set ${setName(set)}`, 'ENOENT');
    return [...elements.values()];
  }

  has(set: NftSet, element: NftElement): boolean {
    const found = this.#tables.get(tableName(set.table))?.sets.get(set.name)?.get(element.key);
    return found !== undefined && found.value === element.value;
  }

  hasTable(table: NftTable): boolean {
    return this.#tables.has(tableName(table));
  }

  chains(table: NftTable): string[] | undefined {
    const chains = this.#tables.get(tableName(table))?.chains;
    return chains === undefined || chains.size === 0 ? undefined : [...chains.keys()];
  }

  ruleCounts(table: NftTable): ReadonlyMap<string, number> {
    const chains = this.#tables.get(tableName(table))?.chains ?? new Map<string, readonly NftRule[]>();
    return new Map([...chains].map(([name, rules]) => [name, rules.length]));
  }

  /** The rules of one chain; empty when there is no such chain. */
  rules(table: NftTable, chain: string): readonly NftRule[] {
    return this.#tables.get(tableName(table))?.chains.get(chain) ?? [];
  }

  generation(): number {
    return this.#generation;
  }

  watch(tables: readonly NftTable[], changed: (what: NftForeignChange) => void): () => void {
    const watcher = { tables: new Set(tables.map(tableName)), changed };
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  async load(ruleset: string): Promise<void> {
    this.loaded.push(ruleset);
    this.#generation += 1;
    return Promise.resolve();
  }

  close(): void {}

  #apply(changes: readonly NftChange[]): boolean {
    if (changes.every((change) => isElementsChange(change) && change.elements.length === 0)) return false;
    const next = new Transaction(this.#tables);
    for (const change of changes) next.apply(change);
    this.#tables = next.tables;
    this.#generation += 1;
    return true;
  }
}

/** Tables as they will be; those that nothing is done to are shared with those that are. */
class Transaction {
  readonly tables: Map<string, FakeTable>;
  readonly #copied = new Set<unknown>();

  constructor(tables: ReadonlyMap<string, FakeTable>) {
    this.tables = new Map(tables);
  }

  apply(change: NftChange): void {
    if (isElementsChange(change)) return this.#elements(change);
    if (change.operation === 'add-table') {
      const name = tableName(change.table);
      if (!this.tables.has(name)) this.tables.set(name, { chains: new Map(), sets: new Map() });
      return;
    }
    if (change.operation === 'delete-table') {
      if (!this.tables.delete(tableName(change.table))) {
        throw refusal(`delete table ${tableName(change.table)}`, 'ENOENT');
      }
      return;
    }
    if (change.operation === 'add-set') {
      const { sets } = this.#table(change.set.table);
      if (sets.has(change.set.name)) throw refusal(`make set ${setName(change.set)}`, 'EEXIST');
      sets.set(change.set.name, new Map());
      return;
    }
    const table = this.#table(change.table);
    for (const expression of change.rules.flat()) this.#checkReferences(table, expression);
    table.chains.set(change.chain, change.rules);
  }

  /** A rule leads only to chains and sets that are there. */
  #checkReferences(table: FakeTable, expression: NftRule[number]): void {
    if ('chain' in expression && !table.chains.has(expression.chain)) {
      throw refusal(`write a rule that goes to chain ${expression.chain}`, 'ENOENT');
    }
    const set = 'map' in expression ? expression.map : 'set' in expression ? expression.set : undefined;
    if (set !== undefined && !table.sets.has(set)) throw refusal(`write a rule with set ${set}`, 'ENOENT');
  }

  #elements(change: NftElementsChange): void {
    const { operation, set } = change;
    const table = this.#table(set.table);
    const found = table.sets.get(set.name);
    const refuse = (code: string): FlatnetError =>
      refusal(`${operation} element in set ${setName(set)}`, code);
    if (found === undefined) throw refuse('ENOENT');
    const elements = this.#copied.has(found) ? found : new Map(found);
    this.#copied.add(elements);
    table.sets.set(set.name, elements);
    for (const element of change.elements) {
      const known = elements.get(element.key);
      if (operation === 'add') {
        if (known !== undefined && known.value !== element.value) throw refuse('EEXIST');
        const chain = set.kind === 'vmap' ? element.value?.split(' ')[1] : undefined;
        if (chain !== undefined && !table.chains.has(chain)) throw refuse('ENOENT');
        elements.set(element.key, element);
      } else if (!elements.delete(element.key) && operation === 'delete') throw refuse('ENOENT');
    }
  }

  /** A copy that may be changed. */
  #table(table: NftTable): FakeTable {
    const name = tableName(table);
    const found = this.tables.get(name);
    if (found === undefined) throw refusal(`change table ${name}`, 'ENOENT');
    if (this.#copied.has(found)) return found;
    const copy = { chains: new Map(found.chains), sets: new Map(found.sets) };
    this.#copied.add(copy);
    this.tables.set(name, copy);
    return copy;
  }
}

const refusal = (doing: string, code: string): FlatnetError =>
  new FlatnetError(`${doing}: ${code}`, { code });
