import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { NftChange, NftElement, NftKernel, NftSet } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ServiceConflict } from '../../backend.ts';
import { Claims, type RefusedClaim } from '../../claims.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { balancerChain, isStandard, MAX_ENDPOINTS, parseBalancerChain } from './balancer.ts';
import { CompleteDelta, ElementDelta, type ElementSink } from './delta.ts';
import { LookupRules } from './lookup-rule.ts';
import { observePort } from './observed-plan.ts';
import {
  balancersOf,
  entriesOf,
  planPort,
  visitOwnElements,
  visitSharedElements,
  type Entry,
  type NamedEntry,
  type PlannedPort,
  type PreviousPlan,
} from './plan.ts';
import { numberOfCode } from './service-code.ts';
import { ServiceNumbers } from './service-numbers.ts';
import { elementSets, proxySets, type ProxySets } from './sets.ts';
import { addBalancer, createTable, isMarkerOfLayout, planTable, type TablePlan } from './table-plan.ts';
import { numberOfRanges } from './source-ranges.ts';
import { isLoaded } from './loaded-table.ts';

export interface FamilyUpdate {
  readonly changes: NftChange[];
  /** Service ports that did not get their key because another one has it. */
  readonly conflicts: ServiceConflict[];
  readonly failures: { readonly subject: string; readonly message: string }[];
}

/** A rebuild under way: every service port is told once, then what is to be done is asked for. */
export interface FamilyRebuild {
  /** Nothing is there yet: what was told so far can be programmed before the rest is known. */
  readonly isFirst: boolean;
  add(port: ServicePort): void;
  /** What the service ports told since the last call need, where it is the first time. */
  take(): NftChange[];
  finish(): FamilyUpdate;
}

/** Everything that one address family's table should hold, and holds as far as this process knows. */
export class FamilyProgram {
  readonly family: IpFamily;
  readonly sets: ProxySets;
  readonly #settings: ProxySettings;
  readonly #rules: LookupRules;
  readonly #table: TablePlan;
  #planned = new Map<string, PlannedPort>();
  #claims = new Claims();
  readonly #numbers = new ServiceNumbers();
  /** How many service ports need a shared element; by set, then key. */
  #users = new Map<NftSet, Map<string, number>>();
  /** Balancing chains that are there beside the standard ones. */
  #chains = new Set<string>();
  /** What is there is not as it should be: the next rebuild replaces all of it, in one transaction. */
  #replace = false;
  /** Claims that were refused since the last update was finished; some may have been granted meanwhile. */
  #refused: RefusedClaim[] = [];

  constructor(settings: ProxySettings, family: IpFamily) {
    this.family = family;
    this.sets = proxySets(family);
    this.#settings = settings;
    this.#rules = new LookupRules(this.sets, family);
    this.#table = planTable(settings, this.sets, family);
  }

  /**
   * Makes the table where there is none. One that is not as it should be (of an earlier version, of other settings, or
   * `altered` by others) serves on until the next rebuild.
   */
  prepare(nft: NftKernel, altered: boolean): void {
    const chains = nft.chains(this.sets.table);
    this.#chains = new Set(
      chains?.filter((name) => {
        const found = parseBalancerChain(name);
        return found !== undefined && !isStandard(found.way, found.balancer);
      }),
    );
    this.#replace = true;
    if (chains !== undefined) {
      this.#replace = altered || !isLoaded(nft, this.#table, this.sets, this.#rules, chains);
      return;
    }
    nft.commit([...this.#makeEmpty(), ...createTable(this.#table, this.sets, this.family)]);
    this.#replace = false;
  }

  /**
   * The way from what the kernel holds to what it should hold. Service ports and endpoints keep the numbers that they
   * have; what no service port needs goes.
   */
  rebuild(nft: NftKernel): FamilyRebuild {
    const replaced = this.#replace;
    const delta = new CompleteDelta(replaced);
    const chains = nft.chains(this.sets.table) ?? [];
    const readable = !replaced || chains.some(isMarkerOfLayout);
    for (const set of elementSets(this.sets)) delta.observe(set, readable ? readOrNothing(nft, set) : []);
    const known = this.#planned;
    this.#planned = new Map();
    this.#claims = new Claims();
    this.#users = new Map();
    this.#refused = [];
    const taken = this.#reserveNumbers(known, nft, readable);
    const used = new Set<number>();
    const update: FamilyUpdate = { changes: [], conflicts: [], failures: [] };
    if (replaced) {
      // Who is bound to which endpoint stays; less those whose time is over in this moment.
      const clients = readable
        ? readOrNothing(nft, this.sets.affinity).filter(({ expiresMs = 0 }) => expiresMs > 0)
        : [];
      update.changes.push(...this.#makeEmpty(), ...createTable(this.#table, this.sets, this.family));
      if (clients.length > 0) {
        update.changes.push({ operation: 'add', set: this.sets.affinity, elements: clients });
      }
      this.#chains = new Set();
    }
    const isFree = (number: number): boolean => !used.has(number);
    const lookup = (set: NftSet, key: string): string | undefined => delta.observed(set, key);
    const previousOf = (port: ServicePort, entries: readonly NamedEntry[]): PreviousPlan => {
      const before = known.get(port.id);
      const found =
        before !== undefined && isFree(before.number)
          ? before
          : observePort(entries, this.sets, lookup, (number) => isFree(number) && !taken.has(number));
      const previous = found ?? { number: this.#numbers.take(), pools: [] };
      used.add(previous.number);
      return previous;
    };
    return {
      isFirst: delta.isFirst,
      add: (port) => {
        this.#addChains(this.#put(port, delta, previousOf), update.changes);
        tellTooMany(port, update);
      },
      take: () => [...update.changes.splice(0), ...delta.takeAdditions()],
      finish: () => {
        update.changes.push(...delta.changes());
        update.conflicts.push(...this.#conflicts());
        this.#numbers.reset(used);
        this.#replace = false;
        return update;
      },
    };
  }

  /** The way from one state to the next, for these service ports alone. */
  update(changes: readonly ServicePortChange[]): FamilyUpdate {
    const delta = new ElementDelta();
    const update: FamilyUpdate = { changes: [], conflicts: [], failures: [] };
    const freed: string[] = [];
    this.#numbers.settle();
    const replace = (id: string, port: ServicePort | undefined): void => {
      const before = this.#planned.get(id);
      if (before !== undefined) freed.push(...this.#takeOut(id, before, delta));
      if (port === undefined) {
        if (before !== undefined) this.#numbers.giveBack(before.number);
        return;
      }
      const previous = (): PreviousPlan => before ?? { number: this.#numbers.take(), pools: [] };
      this.#addChains(this.#put(port, delta, previous), update.changes);
      tellTooMany(port, update);
    };
    for (const { id, port } of changes) replace(id, port);
    // Whoever waits for a key that is free now; in what it gets it may give up another.
    for (let key = freed.shift(); key !== undefined; key = freed.shift()) {
      const heir = this.#claims.heir(key);
      if (heir !== undefined) replace(heir.id, heir);
    }
    update.changes.push(...delta.changes());
    update.conflicts.push(...this.#conflicts());
    return update;
  }

  /** Numbers that must not be given to service ports that are new: those of known ones, and those in the kernel. */
  #reserveNumbers(
    known: ReadonlyMap<string, PlannedPort>,
    nft: NftKernel,
    readable: boolean,
  ): ReadonlySet<number> {
    const ofKnown = new Set([...known.values()].map(({ number }) => number));
    const all = new Set(ofKnown);
    if (readable) {
      for (const set of [this.sets.serviceIps, this.sets.serviceNodePorts]) {
        for (const { value } of readOrNothing(nft, set)) {
          const number = numberOfCode(value);
          if (number !== undefined) all.add(number);
        }
      }
      for (const { value } of readOrNothing(nft, this.sets.firewallIps)) {
        const number = numberOfRanges(value);
        if (number !== undefined) all.add(number);
      }
    }
    this.#numbers.reset(all);
    return ofKnown;
  }

  #put(
    port: ServicePort,
    delta: ElementSink,
    previousOf: (port: ServicePort, entries: readonly NamedEntry[]) => PreviousPlan,
  ): PlannedPort {
    const wanted = entriesOf(port, this.#settings);
    const granted = wanted.filter(({ key, what }) => {
      if (this.#claims.take(key, port)) return true;
      this.#refused.push({ id: port.id, key, what });
      return false;
    });
    const plan = planPort(port, granted.map(toEntry), previousOf(port, granted), this.#settings.nodeIps);
    this.#planned.set(port.id, plan);
    visitOwnElements(plan, this.sets, (set, key, value) => delta.add(set, key, value));
    visitSharedElements(plan, this.sets, (set, key) => this.#use(set, key, delta));
    return plan;
  }

  /** Takes a service port's elements out; returns the keys that it had. */
  #takeOut(id: string, plan: PlannedPort, delta: ElementDelta): string[] {
    this.#planned.delete(id);
    this.#claims.forget(id);
    visitOwnElements(plan, this.sets, (set, key, value) => delta.remove(set, key, value));
    visitSharedElements(plan, this.sets, (set, key) => this.#unuse(set, key, delta));
    const keys = plan.entries.map(({ key }) => key);
    this.#claims.release(keys, id);
    return keys;
  }

  #use(set: NftSet, key: string, delta: ElementSink): void {
    let users = this.#users.get(set);
    if (users === undefined) this.#users.set(set, (users = new Map()));
    const count = users.get(key) ?? 0;
    users.set(key, count + 1);
    if (count === 0) delta.add(set, key);
  }

  #unuse(set: NftSet, key: string, delta: ElementDelta): void {
    const users = this.#users.get(set);
    const count = users?.get(key) ?? 0;
    if (count > 1) users?.set(key, count - 1);
    else if (users?.delete(key) === true) delta.remove(set, key);
  }

  /** Chains that are rarely needed, before the elements that lead to them. */
  #addChains(plan: PlannedPort, changes: NftChange[]): void {
    for (const { way, balancer } of balancersOf(plan)) {
      const name = balancerChain(way, balancer);
      if (isStandard(way, balancer) || this.#chains.has(name)) continue;
      this.#chains.add(name);
      changes.push(...addBalancer(this.#rules, this.sets, way, balancer));
    }
  }

  /** No table, whether there was one or not. */
  #makeEmpty(): NftChange[] {
    const { table } = this.sets;
    return [
      { operation: 'add-table', table },
      { operation: 'delete-table', table },
    ];
  }

  #conflicts(): ServiceConflict[] {
    const conflicts = this.#claims.conflicts(this.#refused);
    this.#refused = [];
    return conflicts;
  }
}

const toEntry = ({ key, kind, guarded, onAllAddresses }: NamedEntry): Entry => ({
  key,
  kind,
  guarded,
  onAllAddresses,
});

function tellTooMany(port: ServicePort, update: FamilyUpdate): void {
  const count = Math.max(port.endpoints.length, port.localEndpoints.length);
  if (count <= MAX_ENDPOINTS) return;
  const message = `only the first ${MAX_ENDPOINTS} of its ${count} endpoints get connections`;
  update.failures.push({ subject: port.id, message });
}

/** A set that somebody deleted, or that is of an older layout, has nothing to tell. */
function readOrNothing(nft: NftKernel, set: NftSet): NftElement[] {
  try {
    return nft.elements(set);
  } catch (error) {
    if (error instanceof FlatnetError && error.code === 'ENOENT') return [];
    throw error;
  }
}
