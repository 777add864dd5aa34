import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { IpFamily } from '../../net/ip.ts';
import { formatRule, SET_OPTION } from './format-rule.ts';
import type {
  IptablesChange,
  IptablesKernel,
  IptablesVariant,
  ObservedTable,
  ObservedTables,
  TableName,
} from './objects.ts';
import { restoreText } from './restore-text.ts';
import type { IptablesRule } from './rule.ts';
import { splitWords, type SavedTable } from './save-text.ts';

const BUILT_IN: Readonly<Record<TableName, readonly string[]>> = {
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
};

const TARGETS = new Set(['ACCEPT', 'DROP', 'RETURN', 'REJECT', 'DNAT', 'MARK', 'MASQUERADE']);

/** Tables in memory that take the texts that iptables-restore takes, and refuse what it refuses. */
export class FakeIptables implements IptablesKernel {
  readonly family: IpFamily;
  readonly variant: IptablesVariant = 'legacy';
  readonly randomFully = true;
  /** Every text that was restored. */
  readonly restored: string[] = [];
  readonly #tables = new Map<string, SavedTable>();
  #generation = 0;
  #known = 0;

  constructor(family: IpFamily = 4) {
    this.family = family;
    for (const [table, chains] of Object.entries(BUILT_IN)) {
      this.#tables.set(table, new Map(chains.map((chain) => [chain, []])));
    }
  }

  key(rule: IptablesRule): string {
    return formatRule(rule, this.family);
  }

  looksAtSets(key: string): boolean {
    return SET_OPTION.test(key);
  }

  async read(table: TableName): Promise<ObservedTable> {
    this.#known = this.#generation;
    const copy = new Map([...this.#table(table)].map(([chain, rules]) => [chain, [...rules]] as const));
    return Promise.resolve({ chains: () => copy.keys(), rules: (chain) => copy.get(chain) });
  }

  async probe(): Promise<void> {
    await Promise.resolve();
  }

  async readAll(): Promise<ObservedTables> {
    const [mangle, nat] = [await this.read('mangle'), await this.read('nat')];
    return { mangle, nat, filter: await this.read('filter') };
  }

  async apply(changes: readonly IptablesChange[]): Promise<void> {
    const foreign = this.#generation - this.#known;
    if (changes.length > 0) this.restore(restoreText(changes, this.family));
    this.#known = this.#generation - foreign;
    return Promise.resolve();
  }

  /** As `iptables-restore --noflush` with this text. */
  restore(text: string): void {
    this.restored.push(text);
    let table: string | undefined;
    let draft: SavedTable = new Map();
    for (const [index, line] of text.split('\n').entries()) {
      if (line === '' || line.startsWith('#')) continue;
      if (line.startsWith('*')) {
        table = line.slice(1);
        draft = new Map([...this.#table(table)].map(([chain, rules]) => [chain, [...rules]]));
      } else if (table === undefined) {
        throw refused(index, line, 'no table');
      } else if (line === 'COMMIT') {
        this.#tables.set(table, draft);
        this.#generation += 1;
        table = undefined;
      } else {
        restoreLine(draft, table, line, index);
      }
    }
    if (table !== undefined) throw refused(text.split('\n').length, '', 'COMMIT expected');
  }

  async save(table: TableName): Promise<string> {
    const chains = this.#table(table);
    const built = BUILT_IN[table];
    const lines = [`*${table}`];
    for (const chain of chains.keys())
      lines.push(`:${chain} ${built.includes(chain) ? 'ACCEPT' : '-'} [0:0]`);
    for (const [chain, rules] of chains)
      for (const rule of rules) lines.push(rule === '' ? `-A ${chain}` : `-A ${chain} ${rule}`);
    return Promise.resolve([...lines, 'COMMIT', ''].join('\n'));
  }

  async missingChains(table: TableName, chains: readonly string[]): Promise<string[]> {
    return Promise.resolve(chains.filter((chain) => !this.#table(table).has(chain)));
  }

  async alteredByOthers(): Promise<boolean> {
    return Promise.resolve(this.#generation !== this.#known);
  }

  close(): void {}

  #table(name: string): SavedTable {
    const table = this.#tables.get(name);
    if (table === undefined) throw refused(0, name, 'no such table');
    return table;
  }
}

function restoreLine(table: SavedTable, name: string, line: string, index: number): void {
  if (line.startsWith(':')) {
    const chain = line.slice(1, line.indexOf(' '));
    if (chain.length > 28) throw refused(index, line, 'chain name too long');
    table.set(chain, []);
    return;
  }
  const [option = '', chain = ''] = line.split(' ', 2);
  const rules = table.get(chain);
  if (rules === undefined) throw refused(index, line, 'No chain/target/match by that name');
  const rest = line.slice(option.length + chain.length + 2);
  if (option === '-A') rules.push(checked(table, rest, index));
  else if (option === '-I') {
    const number = /^\d+ /.exec(rest)?.[0] ?? '';
    rules.splice(Number(number || 1) - 1, 0, checked(table, rest.slice(number.length), index));
  } else if (option === '-D') {
    const at = /^\d+$/.test(rest) ? Number(rest) - 1 : rules.indexOf(rest);
    if (at < 0 || at >= rules.length) throw refused(index, line, 'does a matching rule exist in that chain?');
    rules.splice(at, 1);
  } else if (option === '-X') {
    const built = (BUILT_IN as Readonly<Record<string, readonly string[]>>)[name]?.includes(chain);
    const used = [...table.values()].some((all) => all.some((rule) => jumpOf(rule) === chain));
    if (built === true || used || rules.length > 0) throw refused(index, line, 'chain is in use');
    table.delete(chain);
  } else throw refused(index, line, 'bad option');
}

function checked(table: SavedTable, rule: string, index: number): string {
  const target = jumpOf(rule);
  if (target !== undefined && !TARGETS.has(target) && !table.has(target)) {
    throw refused(index, rule, `no chain "${target}"`);
  }
  return rule;
}

function jumpOf(rule: string): string | undefined {
  const words = splitWords(rule);
  const at = words.indexOf('-j');
  return at === -1 ? undefined : words[at + 1];
}

function refused(index: number, line: string, why: string): FlatnetError {
  return new FlatnetError(`iptables-restore: line ${index + 1} failed: ${line}: ${why}`, {
    code: 'COMMAND_FAILED',
  });
}
