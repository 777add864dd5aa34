import type { IptablesChange, IptablesKernel, ObservedTables } from '../../../kernel/iptables/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ServiceConflict } from '../../backend.ts';
import { Claims, type RefusedClaim } from '../../claims.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { Adoption } from './adoption.ts';
import { ChangeSet } from './change-set.ts';
import { keysOf, nameKey } from './entry-keys.ts';
import {
  fixedChains,
  fixedJumps,
  localCriteria,
  LOCALHOST_COUNTER,
  servesLocalhost,
  type NodeFacts,
} from './fixed-rules.ts';
import { planPort, type PlanSettings, type PortPlan } from './plan.ts';
import { countWritten, RuleCounts } from './rule-counts.ts';

/** From more endpoints on, comments that are there for each endpoint are left out (kube-proxy's threshold). */
const LARGE_CLUSTER_ENDPOINTS = 1000;

export interface FamilyUpdate {
  readonly changes: readonly IptablesChange[];
  readonly conflicts: readonly ServiceConflict[];
  readonly written: RuleCounts;
}

interface Entry {
  readonly port: ServicePort;
  /** Keys that other service ports have. */
  readonly denied: ReadonlySet<string>;
}

const NONE: ReadonlySet<string> = new Set();

/** The service ports of one address family: which are programmed, and what a change of them means in rules. */
export class FamilyProgram {
  readonly family: IpFamily;
  readonly #kernel: Pick<IptablesKernel, 'key' | 'randomFully'>;
  readonly #settings: ProxySettings;
  #facts: NodeFacts;
  #entries = new Map<string, Entry>();
  #claims = new Claims();
  #refused: RefusedClaim[] = [];
  #endpoints = 0;
  #large = false;
  #rules = new RuleCounts();
  #plan: PlanSettings;

  constructor(kernel: IptablesKernel, settings: ProxySettings) {
    this.#kernel = kernel;
    this.family = kernel.family;
    this.#settings = settings;
    this.#facts = { randomFully: kernel.randomFully, counters: NONE, tcpBeLiberal: false };
    this.#plan = this.#planSettings();
  }

  /** What is found out about the node before rules are made. */
  learn(facts: Omit<NodeFacts, 'randomFully'>): void {
    this.#facts = { ...facts, randomFully: this.#kernel.randomFully };
  }

  /** All rules of Services and those that do not depend on them. */
  get rules(): RuleCounts {
    return this.#rules;
  }

  /** The way from what is observed to what these service ports need. */
  rebuild(observed: ObservedTables, ports: Iterable<ServicePort>): FamilyUpdate {
    this.#entries = new Map();
    this.#claims = new Claims();
    this.#refused = [];
    this.#endpoints = 0;
    for (const port of ports) if (port.family === this.family) this.#put(port);
    this.#large = this.#endpoints > LARGE_CLUSTER_ENDPOINTS;
    this.#plan = this.#planSettings();
    const adoption = new Adoption(this.#kernel, observed);
    const fixed = fixedChains(this.#settings, this.family, this.#facts);
    const jumps = fixedJumps();
    this.#rules = new RuleCounts();
    for (const { table } of jumps) this.#rules.add(table, 1);
    for (const { table, rules } of fixed) this.#rules.add(table, rules.length);
    for (const entry of this.#entries.values()) {
      const plan = this.#planOf(entry);
      this.#rules.addPlan(plan);
      adoption.add(plan);
    }
    const changes = adoption.changes(fixed, jumps);
    return { changes, conflicts: this.#conflicts(), written: countWritten(changes) };
  }

  /** The way from one state to the next, for these service ports alone. */
  update(changes: readonly ServicePortChange[]): FamilyUpdate {
    const before = new Map<string, Entry | undefined>();
    const freed: string[] = [];
    const replace = (id: string, port: ServicePort | undefined): void => {
      const entry = this.#entries.get(id);
      if (!before.has(id)) before.set(id, entry);
      if (entry !== undefined) freed.push(...this.#takeOut(entry));
      if (port !== undefined) this.#put(port);
    };
    for (const { id, port } of changes) replace(id, port);
    // Whoever waits for a key that is free now; in what it gets it may give up another.
    for (let key = freed.shift(); key !== undefined; key = freed.shift()) {
      const heir = this.#claims.heir(key);
      if (heir !== undefined) replace(heir.id, heir);
    }
    return this.#difference(before);
  }

  #difference(before: Map<string, Entry | undefined>): FamilyUpdate {
    const set = new ChangeSet(this.#kernel);
    const large = this.#endpoints > LARGE_CLUSTER_ENDPOINTS;
    if (large !== this.#large) {
      // Every chain of an endpoint gets or loses its comment: so many only as there are at the threshold.
      for (const [id, entry] of this.#entries) if (!before.has(id)) before.set(id, entry);
    }
    for (const entry of before.values()) if (entry !== undefined) set.was(this.#planOf(entry));
    this.#large = large;
    this.#plan = this.#planSettings();
    for (const id of before.keys()) {
      const entry = this.#entries.get(id);
      if (entry !== undefined) set.becomes(this.#planOf(entry));
    }
    this.#rules.addAll(set.growth);
    const changes = set.changes();
    return { changes, conflicts: this.#conflicts(), written: countWritten(changes) };
  }

  #put(port: ServicePort): void {
    const denied = new Set<string>();
    for (const { key, what } of keysOf(port)) {
      if (this.#claims.take(key, port)) continue;
      denied.add(key);
      this.#refused.push({ id: port.id, key, what });
    }
    this.#entries.set(port.id, { port, denied: denied.size === 0 ? NONE : denied });
    this.#endpoints += countEndpoints(port);
  }

  /** Returns the keys that it had. */
  #takeOut({ port }: Entry): string[] {
    this.#entries.delete(port.id);
    this.#endpoints -= countEndpoints(port);
    this.#claims.forget(port.id);
    const keys = keysOf(port)
      .map(({ key }) => key)
      .filter((key) => this.#claims.owner(key) === port.id);
    this.#claims.release(keys, port.id);
    return keys;
  }

  #planOf({ port, denied }: Entry): PortPlan {
    // Without its name it has no chains of its own, and so nothing at all.
    if (denied.has(nameKey(port))) return { chains: new Map(), shared: [] };
    return planPort(port, denied, this.#plan);
  }

  #planSettings(): PlanSettings {
    const settings = this.#settings;
    const counted = this.#facts.counters.has(LOCALHOST_COUNTER);
    return {
      masqueradeAll: settings.masqueradeAll,
      localTraffic: localCriteria(settings, this.family),
      nodeIp: settings.nodeIps.find((ip) => ip.family === this.family),
      countLocalhost: counted && servesLocalhost(settings, this.family),
      large: this.#large,
    };
  }

  #conflicts(): ServiceConflict[] {
    const conflicts = this.#claims.conflicts(this.#refused);
    this.#refused = [];
    return conflicts;
  }
}

function countEndpoints({ endpoints, localEndpoints }: ServicePort): number {
  if (endpoints.length === 0) return localEndpoints.length;
  if (localEndpoints.length === 0) return endpoints.length;
  const all = [...endpoints, ...localEndpoints].map(({ address, port }) => `${address} ${port}`);
  return new Set(all).size;
}
