import type { NftChange, NftElement, NftKernel, NftSet } from '../../../kernel/nft/objects.ts';
import { addressField, indexField } from '../../../kernel/nft/field.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import { Claims } from '../../claims.ts';
import { CompleteDelta, ElementDelta, type ElementSink } from './delta.ts';
import { buildFixedChains, FIXED_CHAINS } from './fixed-chain.ts';
import { LookupRules } from './lookup-rule.ts';
import {
  chainsOf,
  entriesOf,
  planPort,
  visitOwnElements,
  visitSharedElements,
  type PlannedPort,
} from './plan.ts';
import { buildRuleset, type Ruleset, type RulesetOptions } from './ruleset.ts';
import { elementSets, proxySets, type ProxySets } from './sets.ts';
import {
  addSharedChains,
  countSharedRules,
  dispatchSet,
  linkedChain,
  parseSharedChain,
  sharedChainName,
  type SharedChain,
} from './shared-chain.ts';

/** What became of a service port: what its users' connections may still hold on to. */
export interface Retired {
  readonly before: PlannedPort | undefined;
  readonly after: PlannedPort | undefined;
}

export interface FamilyUpdate {
  readonly changes: NftChange[];
  readonly retired: Retired[];
  /** Service ports that did not get their key because another one has it. */
  readonly conflicts: Conflict[];
}

interface Conflict {
  readonly id: string;
  readonly owner: string;
  readonly what: string;
}

/** A rebuild under way: every service port is told once, then what is to be done is asked for. */
export interface FamilyRebuild {
  add(port: ServicePort): void;
  finish(): FamilyUpdate;
}

/** Everything that one address family's table should hold, and holds as far as this process knows. */
export class FamilyProgram {
  readonly family: IpFamily;
  readonly sets: ProxySets;
  readonly #options: RulesetOptions;
  readonly #rules: LookupRules;
  readonly #mark: number;
  readonly #nodeIps: readonly string[];
  #planned = new Map<string, PlannedPort>();
  #claims = new Claims();
  /** How many service ports need a shared element; by set, then key. */
  #users = new Map<NftSet, Map<string, number>>();
  #chains = new Set<string>();
  /** Claims that were refused since the last update was finished; some may have been granted meanwhile. */
  #refused: { readonly id: string; readonly key: string; readonly what: string }[] = [];

  constructor(options: RulesetOptions, nodeIps: readonly Ip[]) {
    this.family = options.family;
    this.sets = proxySets(options.family);
    this.#options = options;
    this.#rules = new LookupRules(this.sets, options.family);
    this.#mark = 2 ** options.masqueradeBit;
    this.#nodeIps = nodeIps
      .filter((ip) => ip.family === options.family)
      .map((ip) => addressField(ip.toString()));
  }

  /** Has the rules loaded, if they are not there as they should be. Elements and what they lead to stay. */
  async prepare(nft: NftKernel): Promise<void> {
    const { table } = this.sets;
    const chains = nft.chains(table);
    const sets = chains === undefined ? [] : nft.sets(table);
    const ruleset = buildRuleset(
      this.#options,
      this.sets,
      chains === undefined ? undefined : { chains, sets },
    );
    this.#chains = new Set(chains);
    const shared = (chains ?? []).map(parseSharedChain).filter((chain) => chain !== undefined);
    if (this.#isLoaded(ruleset, shared, nft)) return;
    await nft.load(ruleset.text);
    nft.commit([
      ...buildFixedChains(this.sets, this.#rules),
      ...addSharedChains(this.sets, this.#rules, this.#mark, shared),
    ]);
  }

  /** Whether the rules are there: the marker tells which, their number that nobody flushed or added any. */
  #isLoaded({ marker, ruleCounts }: Ruleset, shared: readonly SharedChain[], nft: NftKernel): boolean {
    if (!this.#chains.has(marker)) return false;
    const wanted = new Map([
      ...ruleCounts,
      ...FIXED_CHAINS.map((chain) => [chain, 1] as const),
      ...shared.map((chain) => [sharedChainName(chain), countSharedRules(chain)] as const),
    ]);
    const found = nft.ruleCounts(this.sets.table);
    return [...wanted].every(([chain, count]) => (found.get(chain) ?? 0) === count);
  }

  /**
   * The way from what the kernel holds to what it should hold. Endpoints keep the numbers that they have; what no
   * service port needs goes.
   */
  rebuild(nft: NftKernel): FamilyRebuild {
    this.#planned = new Map();
    this.#claims = new Claims();
    this.#users = new Map();
    this.#refused = [];
    const delta = new CompleteDelta();
    for (const set of elementSets(this.sets)) delta.observe(set, nft.elements(set));
    for (const ip of this.#nodeIps) delta.add(this.sets.nodePortIps, ip);
    const update: FamilyUpdate = { changes: [], retired: [], conflicts: [] };
    const chains = this.#missingLinks(nft, update);
    return {
      add: (port) => {
        const plan = this.#put(port, delta, (entry) => this.#numbersOf(delta, entry));
        for (const chain of chainsOf(plan)) chains.set(sharedChainName(chain), chain);
      },
      finish: () => {
        this.#finish(delta, chains, update);
        return update;
      },
    };
  }

  /** The way from one state to the next, for these service ports alone. */
  update(changes: readonly ServicePortChange[]): FamilyUpdate {
    const delta = new ElementDelta();
    const update: FamilyUpdate = { changes: [], retired: [], conflicts: [] };
    const chains = new Map<string, SharedChain>();
    const freed: string[] = [];
    const replace = (id: string, port: ServicePort | undefined): void => {
      const before = this.#planned.get(id);
      if (before !== undefined) freed.push(...this.#takeOut(id, before, delta));
      const previous = before?.endpoints ?? [];
      const after = port === undefined ? undefined : this.#put(port, delta, () => previous);
      for (const chain of after === undefined ? [] : chainsOf(after))
        chains.set(sharedChainName(chain), chain);
      update.retired.push({ before, after });
    };
    for (const { id, port } of changes) replace(id, port);
    // Whoever waits for a key that is free now; in what it gets it may give up another.
    for (let key = freed.shift(); key !== undefined; key = freed.shift()) {
      const heir = this.#claims.heir(key);
      if (heir !== undefined) replace(heir.id, heir);
    }
    this.#finish(delta, chains, update);
    return update;
  }

  planned(id: string): PlannedPort | undefined {
    return this.#planned.get(id);
  }

  get size(): number {
    return this.#planned.size;
  }

  /** The service port that is reached at a key of `service-ips`, or of `service-nodeports`. */
  plannedAt(entry: string): PlannedPort | undefined {
    const id = this.#claims.owner(entry);
    return id === undefined ? undefined : this.#planned.get(id);
  }

  isNodeIp(address: string): boolean {
    return this.#nodeIps.includes(address);
  }

  /** The endpoints that the kernel has for a service port, by their numbers. */
  #numbersOf(delta: CompleteDelta, entry: string): string[] {
    const numbers: string[] = [];
    for (;;) {
      const endpoint = delta.observed(this.sets.endpoints, entry + indexField(numbers.length));
      if (endpoint === undefined) return numbers;
      numbers.push(endpoint);
    }
  }

  #put(port: ServicePort, delta: ElementSink, previous: (entry: string) => readonly string[]): PlannedPort {
    const { entry, nodeEntry } = entriesOf(port);
    const claim = (key: string | undefined, what: string): string | undefined => {
      if (key === undefined || this.#claims.take(key, port)) return key;
      this.#refused.push({ id: port.id, key, what });
      return undefined;
    };
    const keys = {
      entry: claim(entry, `${port.address} ${port.protocol} port ${port.port}`),
      nodeEntry: claim(nodeEntry, `node port ${port.protocol} ${port.nodePort}`),
    };
    const plan = planPort(port, keys, previous(entry));
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
    const keys = [plan.entry, plan.nodeEntry].filter((key) => key !== undefined);
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

  /** Shared chains that are there, but not the element through which they are found. Wrong elements go. */
  #missingLinks(nft: NftKernel, update: FamilyUpdate): Map<string, SharedChain> {
    const missing = new Map<string, SharedChain>();
    const linked = new Set<string>();
    for (const kind of ['service', 'nodeport', 'learn'] as const) {
      const set = dispatchSet(this.sets, kind);
      const wrong: NftElement[] = [];
      for (const element of nft.elements(set)) {
        const name = linkedChain(kind, element);
        if (name === undefined) wrong.push({ key: element.key });
        else linked.add(name);
      }
      if (wrong.length > 0) update.changes.push({ operation: 'delete', set, elements: wrong });
    }
    for (const name of this.#chains) {
      const chain = linked.has(name) ? undefined : parseSharedChain(name);
      if (chain === undefined) continue;
      this.#chains.delete(name);
      missing.set(name, chain);
    }
    return missing;
  }

  #conflicts(): Conflict[] {
    const conflicts = new Map<string, Conflict>();
    for (const { id, key, what } of this.#refused) {
      const owner = this.#claims.owner(key);
      if (owner !== undefined && this.#claims.isWaiting(key, id))
        conflicts.set(id + what, { id, owner, what });
    }
    this.#refused = [];
    return [...conflicts.values()];
  }

  #finish(delta: { changes(): NftChange[] }, chains: Map<string, SharedChain>, update: FamilyUpdate): void {
    const missing = [...chains.values()].filter((chain) => !this.#chains.has(sharedChainName(chain)));
    const added = addSharedChains(this.sets, this.#rules, this.#mark, missing);
    for (const change of added) if (change.operation === 'write-chain') this.#chains.add(change.chain);
    update.changes.push(...added, ...delta.changes());
    update.conflicts.push(...this.#conflicts());
  }
}
