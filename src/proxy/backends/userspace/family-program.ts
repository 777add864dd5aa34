import { formatRule } from '../../../kernel/iptables/format-rule.ts';
import type { IptablesChange, ObservedTable } from '../../../kernel/iptables/objects.ts';
import type { IptablesRule } from '../../../kernel/iptables/rule.ts';
import type { ServiceConflict } from '../../backend.ts';
import { Claims } from '../../claims.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { Chance } from './balancer.ts';
import { FILTER_CHAINS, NAT_CHAINS } from './chains.ts';
import { entriesOf, type Entry } from './entries.ts';
import { guardRules } from './fixed-rules.ts';
import { entryRules, type PlacedRule, type RuleContext } from './rules.ts';
import { ServedPort, type ServiceTable } from './service-table.ts';

/** The way from one state to the next. */
export interface FamilyUpdate {
  readonly changes: readonly IptablesChange[];
  readonly conflicts: readonly ServiceConflict[];
  readonly failures: readonly { readonly subject: string; readonly message: string }[];
  /** Entries whose rules are others now. */
  readonly altered: readonly (Entry & { readonly protocol: ServicePort['protocol'] })[];
  /** Forgets what no rule leads to any more: to be called when the rules are in place. */
  readonly settle: () => void;
}

interface ProgrammedEntry {
  readonly entry: Entry;
  readonly rules: readonly PlacedRule[];
  /** The rules in one text, to tell whether they change. */
  readonly text: string;
}

interface Programmed {
  readonly port: ServicePort;
  readonly served: ServedPort;
  readonly entries: readonly ProgrammedEntry[];
}

interface Draft {
  readonly before: Map<string, Programmed | undefined>;
  readonly failures: { subject: string; message: string }[];
  readonly refused: { readonly id: string; readonly key: string; readonly what: string }[];
}

const SCTP_REASON =
  'SCTP is not served in userspace mode: Node.js has no SCTP sockets; choose another proxy mode for it';

/** Service ports of one address family: who has which address, the rules that follow, and where connections go. */
export class FamilyProgram {
  readonly #context: RuleContext;
  readonly #table: ServiceTable;
  readonly #chance: Chance;
  #programmed = new Map<string, Programmed>();
  #claims = new Claims();

  constructor(context: RuleContext, table: ServiceTable, chance: Chance) {
    this.#context = context;
    this.#table = table;
    this.#chance = chance;
  }

  /** Rules by which service ports are reached. */
  get rules(): number {
    let count = 0;
    for (const { entries } of this.#programmed.values())
      for (const { rules } of entries) count += rules.length;
    return count;
  }

  update(changes: readonly ServicePortChange[]): FamilyUpdate {
    const draft: Draft = { before: new Map(), failures: [], refused: [] };
    const freed: string[] = [];
    const replace = (id: string, port: ServicePort | undefined): void => {
      const before = this.#programmed.get(id);
      if (!draft.before.has(id)) draft.before.set(id, before);
      freed.push(...this.#takeOut(id));
      if (port !== undefined) this.#put(port, before?.served, draft);
    };
    for (const { id, port } of changes) replace(id, port);
    // Whoever waits for a key that is free now; in what it gets it may give up another.
    for (let key = freed.shift(); key !== undefined; key = freed.shift()) {
      const heir = this.#claims.heir(key);
      if (heir !== undefined) replace(heir.id, heir);
    }
    return this.#finish(draft, difference);
  }

  /** From scratch, against what the kernel holds; clients and sessions of service ports that stay are kept. */
  rebuild(
    ports: Iterable<ServicePort>,
    observed: ReadonlyMap<string, ObservedTable>,
    key: RuleKey,
  ): FamilyUpdate {
    const draft: Draft = { before: new Map(this.#programmed), failures: [], refused: [] };
    this.#programmed = new Map();
    this.#claims = new Claims();
    for (const port of ports) {
      if (!draft.before.has(port.id)) draft.before.set(port.id, undefined);
      this.#put(port, draft.before.get(port.id)?.served, draft);
    }
    return this.#finish(draft, () => this.#completeDifference(observed, key));
  }

  #put(port: ServicePort, known: ServedPort | undefined, draft: Draft): void {
    if (port.protocol === 'SCTP') {
      draft.failures.push({ subject: port.id, message: SCTP_REASON });
      return;
    }
    const served = known ?? new ServedPort(port, this.#chance);
    if (known !== undefined) known.update(port);
    const entries: ProgrammedEntry[] = [];
    for (const entry of entriesOf(port)) {
      if (!this.#claims.take(entry.key, port)) {
        draft.refused.push({ id: port.id, key: entry.key, what: entry.what });
        continue;
      }
      const rules = entryRules(port, entry, this.#context);
      const text = rules.map(({ chain, rule }) => `${chain} ${formatRule(rule, port.family)}`).join('\n');
      entries.push({ entry, rules, text });
    }
    served.entries = entries.map(({ entry }) => entry);
    this.#table.set(served.entries, served);
    this.#programmed.set(port.id, { port, served, entries });
  }

  /** Returns the keys that it had. */
  #takeOut(id: string): string[] {
    const programmed = this.#programmed.get(id);
    this.#programmed.delete(id);
    this.#claims.forget(id);
    const keys = programmed?.entries.map(({ entry }) => entry.key) ?? [];
    this.#claims.release(keys, id);
    return keys;
  }

  #finish(draft: Draft, changesOf: (pairs: readonly EntryPair[]) => IptablesChange[]): FamilyUpdate {
    const pairs: EntryPair[] = [];
    for (const [id, before] of draft.before) pairs.push(...entryPairs(before, this.#programmed.get(id)));
    return {
      changes: changesOf(pairs),
      conflicts: this.#conflicts(draft),
      failures: draft.failures,
      altered: pairs.map(({ entry, protocol }) => ({ ...entry, protocol })),
      settle: () => {
        for (const [id, before] of draft.before) if (before !== undefined) this.#settle(id, before);
      },
    };
  }

  #settle(id: string, before: Programmed): void {
    const { served } = before;
    const after = this.#programmed.get(id);
    if (after === undefined) served.end();
    const kept = new Set(after?.entries.map(({ entry }) => entry.key));
    const gone = before.entries.map(({ entry }) => entry).filter(({ key }) => !kept.has(key));
    this.#table.delete(gone, served);
  }

  #conflicts({ refused }: Draft): ServiceConflict[] {
    const conflicts = new Map<string, ServiceConflict>();
    for (const { id, key, what } of refused) {
      const owner = this.#claims.owner(key);
      // It may have got it since.
      if (owner === undefined || !this.#claims.isWaiting(key, id)) continue;
      conflicts.set(`${id} ${what}`, { id, owner, what });
    }
    return [...conflicts.values()];
  }

  /** Whole chains, where they differ from what they should hold. */
  #completeDifference(observed: ReadonlyMap<string, ObservedTable>, key: RuleKey): IptablesChange[] {
    const groups: (readonly PlacedRule[])[] = [guardRules(this.#context)];
    for (const { entries } of this.#programmed.values()) for (const { rules } of entries) groups.push(rules);
    const chains = [
      ...NAT_CHAINS.map((chain) => ({ table: 'nat', chain }) as const),
      ...FILTER_CHAINS.map((chain) => ({ table: 'filter', chain }) as const),
    ];
    const wanted = new Map<string, IptablesRule[][]>(chains.map(({ chain }) => [chain, []]));
    for (const group of groups) for (const [chain, rules] of byChain(group)) wanted.get(chain)?.push(rules);
    return chains.flatMap(({ table, chain }) => {
      const own = wanted.get(chain) ?? [];
      const found = observed.get(table)?.rules(chain);
      if (found !== undefined && holds(found, own, key)) return [];
      return [{ operation: 'write-chain', table, chain, rules: own.flat() } as const];
    });
  }
}

/** One entry of a service port before and after a change that alters its rules. */
interface EntryPair {
  readonly entry: Entry;
  readonly protocol: ServicePort['protocol'];
  readonly before: readonly PlacedRule[];
  readonly after: readonly PlacedRule[];
}

export type RuleKey = (rule: IptablesRule) => string;

function entryPairs(before: Programmed | undefined, after: Programmed | undefined): EntryPair[] {
  const protocol = (after ?? before)?.port.protocol ?? 'TCP';
  const old = new Map(before?.entries.map((one) => [one.entry.key, one]));
  const pairs: EntryPair[] = [];
  for (const { entry, rules, text } of after?.entries ?? []) {
    const same = old.get(entry.key);
    old.delete(entry.key);
    if (same?.text !== text) pairs.push({ entry, protocol, before: same?.rules ?? [], after: rules });
  }
  for (const { entry, rules } of old.values()) pairs.push({ entry, protocol, before: rules, after: [] });
  return pairs;
}

/** Rules of one entry stand behind each other: in a chain where any of them changes, all are written anew. */
function difference(pairs: readonly EntryPair[]): IptablesChange[] {
  const removed: IptablesChange[] = [];
  const added: IptablesChange[] = [];
  for (const { before, after } of pairs) {
    for (const { table, chain, rule } of before) removed.push({ operation: 'delete', table, chain, rule });
    for (const { table, chain, rule } of after) added.push({ operation: 'append', table, chain, rule });
  }
  // All of one table at once; what is deleted first cannot be taken for the same rule that is added.
  return [...removed, ...added];
}

function byChain(rules: readonly PlacedRule[]): Map<string, IptablesRule[]> {
  const chains = new Map<string, IptablesRule[]>();
  for (const { chain, rule } of rules) {
    const known = chains.get(chain);
    if (known === undefined) chains.set(chain, [rule]);
    else known.push(rule);
  }
  return chains;
}

/** Whether a chain holds these rules and no others. Those of one group must be in their order, groups need not. */
function holds(found: readonly string[], groups: readonly IptablesRule[][], key: RuleKey): boolean {
  const positions = new Map(found.map((text, index) => [text, index]));
  let count = 0;
  for (const group of groups) {
    let last = -1;
    for (const rule of group) {
      const position = positions.get(key(rule));
      if (position === undefined || position <= last) return false;
      last = position;
    }
    count += group.length;
  }
  return count === found.length && positions.size === count;
}
