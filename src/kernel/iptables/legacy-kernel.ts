import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { IpFamily } from '../../net/ip.ts';
import { editTable } from './legacy-edit.ts';
import { HOOK_CHAINS } from './legacy-layout.ts';
import { LegacySocket } from './legacy-socket.ts';
import { legacyKey, type LegacyTable } from './legacy-table.ts';
import {
  TABLES,
  type IptablesChange,
  type IptablesKernel,
  type ObservedTable,
  type ObservedTables,
  type TableName,
} from './objects.ts';
import type { IptablesRule } from './rule.ts';
import type { SetNumbers } from './set-numbers.ts';
import type { ToolIptables } from './tool-kernel.ts';
import { XtablesLock } from './xtables-lock.ts';

const ATTEMPTS = 10;
/** struct xt_entry_match of `-m set`: size, name, as they stand in keys. */
// oxlint-disable-next-line no-control-regex
const SET_MATCH = /P\0set\0{26}/;

/**
 * iptables-legacy, programmed in process. The kernel takes whole tables only; the tool reads, edits and writes the
 * whole for every change. This keeps what it wrote, and reads again only when somebody else may have written.
 */
export class LegacyIptables implements IptablesKernel {
  readonly variant = 'legacy';
  readonly family: IpFamily;
  readonly randomFully: boolean;
  readonly #socket: LegacySocket;
  readonly #lock: XtablesLock;
  readonly #tool: ToolIptables;
  readonly #sets: SetNumbers;
  readonly #known = new Map<TableName, LegacyTable>();
  /** Tables that may be others than those known. */
  readonly #doubtful = new Set<TableName>();
  /** What `alteredByOthers` compares with: what was last read or applied. */
  readonly #last = new Map<TableName, LegacyTable>();

  /** `tool` prints tables. */
  constructor(
    socket: LegacySocket,
    tool: ToolIptables,
    sets: SetNumbers,
    lock: XtablesLock = new XtablesLock(),
  ) {
    this.#socket = socket;
    this.#tool = tool;
    this.#sets = sets;
    this.#lock = lock;
    this.family = socket.family;
    this.randomFully = tool.randomFully;
  }

  key(rule: IptablesRule): string {
    return legacyKey(this.#sets.complete(rule), this.family);
  }

  looksAtSets(key: string): boolean {
    return SET_MATCH.test(key);
  }

  async read(table: TableName): Promise<ObservedTable> {
    const current = await this.#lock.hold(async () => this.#current(table));
    this.#last.set(table, current);
    return current;
  }

  async probe(): Promise<void> {
    await this.read('mangle');
  }

  async readAll(): Promise<ObservedTables> {
    const [mangle, nat] = [await this.read('mangle'), await this.read('nat')];
    return { mangle, nat, filter: await this.read('filter') };
  }

  async apply(changes: readonly IptablesChange[]): Promise<void> {
    if (changes.length === 0) return;
    await this.#lock.hold(async () => {
      for (const run of runsOfTable(changes.map((change) => this.#completed(change)))) await this.#write(run);
    });
  }

  async save(table: TableName): Promise<string> {
    return await this.#tool.save(table);
  }

  async missingChains(table: TableName, chains: readonly string[]): Promise<string[]> {
    const current = await this.#lock.hold(async () => this.#current(table));
    return chains.filter((chain) => !current.places.has(chain));
  }

  async alteredByOthers(): Promise<boolean> {
    return await this.#lock.hold(async () => {
      for (const table of TABLES) {
        const last = this.#last.get(table);
        const current = await this.#current(table);
        if (last === current) continue;
        if (last !== undefined && differs(last, current)) return true;
        this.#last.set(table, current);
      }
      return false;
    });
  }

  close(): void {
    this.#socket.close();
    this.#sets.close();
    this.#lock.close();
    this.#known.clear();
    this.#last.clear();
  }

  #completed(change: IptablesChange): IptablesChange {
    if (change.operation === 'write-chain') {
      return { ...change, rules: change.rules.map((rule) => this.#sets.complete(rule)) };
    }
    return 'rule' in change ? { ...change, rule: this.#sets.complete(change.rule) } : change;
  }

  async #write(changes: readonly [IptablesChange, ...IptablesChange[]]): Promise<void> {
    const [{ table }] = changes;
    for (let attempt = 1; ; attempt += 1) {
      const current = await this.#current(table);
      const { entries } = current;
      try {
        await this.#socket.replace(current, entries, editTable(current, changes));
        this.#known.set(table, current);
        if (!this.#last.has(table)) this.#last.set(table, current);
        return;
      } catch (error) {
        this.#known.delete(table);
        this.#last.delete(table);
        // Somebody without the lock changed it at the same moment.
        const again = error instanceof FlatnetError && error.code === 'EAGAIN';
        if (!again || attempt === ATTEMPTS) throw error;
      }
    }
  }

  /** The table as it is in the kernel; the lock must be held. */
  async #current(table: TableName): Promise<LegacyTable> {
    if (this.#lock.wasTaken()) for (const name of TABLES) this.#doubtful.add(name);
    const known = this.#known.get(table);
    const info = this.#socket.info(table);
    const same = known?.size === info.size && known.entries === info.entries;
    if (known !== undefined && same && !this.#doubtful.has(table)) return known;
    let current = await this.#socket.read(table);
    this.#doubtful.delete(table);
    // The one that is there already is kept, so that both are told to be the same.
    if (known !== undefined && sameBytes(known, current)) current = known;
    this.#known.set(table, current);
    return current;
  }
}

function* runsOfTable(
  changes: readonly IptablesChange[],
): Iterable<readonly [IptablesChange, ...IptablesChange[]]> {
  for (let from = 0; from < changes.length;) {
    const first = changes[from];
    if (first === undefined) return;
    let to = from + 1;
    while (changes[to]?.table === first.table) to += 1;
    yield [first, ...changes.slice(from + 1, to)];
    from = to;
  }
}

function sameBytes(a: LegacyTable, b: LegacyTable): boolean {
  return a.size === b.size && a.bytes.compare(b.bytes, 96, 96 + b.size, 96, 96 + a.size) === 0;
}

/** Whether chains of the proxy, or the kernel's jumps to them, are not the same. */
function differs(a: LegacyTable, b: LegacyTable): boolean {
  if (ownChains(a).length !== ownChains(b).length) return true;
  for (const chain of [...ownChains(a), ...HOOK_CHAINS]) {
    if (relevantRules(a, chain) !== relevantRules(b, chain)) return true;
  }
  return false;
}

function ownChains(table: LegacyTable): string[] {
  return [...table.chains()].filter((chain) => chain.startsWith('KUBE-'));
}

/** Of the kernel's chains only the rules that lead to the proxy's: the others are others'. */
function relevantRules(table: LegacyTable, chain: string): string {
  const rules = table.rules(chain) ?? ['missing'];
  return (chain.startsWith('KUBE-') ? rules : rules.filter((key) => key.includes('>KUBE-'))).join('\n');
}
