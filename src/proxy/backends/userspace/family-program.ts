import type { ServiceConflict } from '../../backend.ts';
import { Claims } from '../../claims.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { Chance } from './balancer.ts';
import { entriesOf, type Entry } from './entries.ts';
import type { PlacedRule } from './rules.ts';
import type { Protocol } from '../../services/service-spec.ts';
import { ServedPort, type ServiceTable } from './service-table.ts';

/** The way from one state to the next. */
export interface FamilyUpdate {
  /** Entries that are realised otherwise now. */
  readonly pairs: readonly EntryPair[];
  readonly conflicts: readonly ServiceConflict[];
  readonly failures: readonly { readonly subject: string; readonly message: string }[];
  /** Forgets what no rule leads to any more: to be called when the rules are in place. */
  readonly settle: () => void;
}

/** How an entry is realised: by which rules, if by rules at all. */
interface Realisation {
  readonly rules: readonly PlacedRule[];
  /** The same for two states between which nothing is to be done. */
  readonly text: string;
}

export type Realise = (port: ServicePort, entry: Entry) => Realisation;

interface ProgrammedEntry extends Realisation {
  readonly entry: Entry;
}

interface Programmed {
  readonly port: ServicePort;
  readonly served: ServedPort;
  readonly entries: readonly ProgrammedEntry[];
}

type RuleTotals = Record<PlacedRule['table'], number>;

interface Draft {
  readonly before: Map<string, Programmed | undefined>;
  readonly failures: { subject: string; message: string }[];
  readonly refused: { readonly id: string; readonly key: string; readonly what: string }[];
}

const SCTP_REASON =
  'SCTP is not served in userspace mode: Node.js has no SCTP sockets; choose another proxy mode for it';

/** Service ports of one address family: who has which address, the rules that follow, and where connections go. */
export class FamilyProgram {
  readonly #realise: Realise;
  readonly #table: ServiceTable;
  readonly #chance: Chance;
  #programmed = new Map<string, Programmed>();
  #claims = new Claims();
  #rules: RuleTotals = { nat: 0, filter: 0 };

  constructor(realise: Realise, table: ServiceTable, chance: Chance) {
    this.#realise = realise;
    this.#table = table;
    this.#chance = chance;
  }

  /** How many rules of service ports there are. */
  get rules(): Readonly<RuleTotals> {
    return this.#rules;
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
    return this.#finish(draft);
  }

  /** From scratch; clients and sessions of service ports that stay are kept. */
  rebuild(ports: Iterable<ServicePort>): FamilyUpdate {
    const draft: Draft = { before: new Map(this.#programmed), failures: [], refused: [] };
    this.#programmed = new Map();
    this.#claims = new Claims();
    this.#rules = { nat: 0, filter: 0 };
    for (const port of ports) {
      if (!draft.before.has(port.id)) draft.before.set(port.id, undefined);
      this.#put(port, draft.before.get(port.id)?.served, draft);
    }
    return this.#finish(draft);
  }

  /** Rules of all entries; within a group their order matters. */
  *ruleGroups(): Iterable<readonly PlacedRule[]> {
    for (const { entries } of this.#programmed.values()) for (const { rules } of entries) yield rules;
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
      const realised = { entry, ...this.#realise(port, entry) };
      entries.push(realised);
      for (const { table } of realised.rules) this.#rules[table] += 1;
    }
    this.#table.set(
      entries.map(({ entry }) => entry),
      served,
    );
    this.#programmed.set(port.id, { port, served, entries });
  }

  /** Returns the keys that it had. */
  #takeOut(id: string): string[] {
    const programmed = this.#programmed.get(id);
    this.#programmed.delete(id);
    this.#claims.forget(id);
    for (const { rules } of programmed?.entries ?? []) for (const { table } of rules) this.#rules[table] -= 1;
    const keys = programmed?.entries.map(({ entry }) => entry.key) ?? [];
    this.#claims.release(keys, id);
    return keys;
  }

  #finish(draft: Draft): FamilyUpdate {
    const pairs: EntryPair[] = [];
    for (const [id, before] of draft.before) pairs.push(...entryPairs(before, this.#programmed.get(id)));
    return {
      pairs,
      conflicts: this.#conflicts(draft),
      failures: draft.failures,
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
}

/** One entry of a service port before and after a change that alters its rules. */
export interface EntryPair {
  readonly entry: Entry;
  readonly protocol: Protocol;
  readonly before: readonly PlacedRule[];
  readonly after: readonly PlacedRule[];
}

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
