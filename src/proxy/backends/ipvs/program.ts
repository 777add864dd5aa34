import type { IpsetChange } from '../../../kernel/ipset/objects.ts';
import {
  realServerText,
  type IpvsChange,
  type RealServer,
  type RealServerKey,
  type VirtualServer,
  type VirtualServerKey,
} from '../../../kernel/ipvs/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';
import { Claims } from '../../claims.ts';
import type { ServiceConflict } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import { planPort, type NodeView, type PlannedEntry, type PlannedPort, type PlannedServer } from './plan.ts';
import { setOf, type SetPurpose } from './set-names.ts';

/** What a change comes to, in the order in which it has to be done: what traffic needs first, then what it does not. */
export interface ProgramUpdate {
  readonly addedEntries: IpsetChange[];
  readonly servers: IpvsChange[];
  readonly addedAddresses: string[];
  /** Real servers that get no new connections any more; those without connections go. */
  readonly retired: { readonly server: VirtualServerKey; readonly destination: RealServerKey }[];
  readonly deletedServers: IpvsChange[];
  readonly deletedEntries: IpsetChange[];
  readonly deletedAddresses: string[];
  readonly conflicts: ServiceConflict[];
}

interface Holding {
  readonly port: ServicePort;
  readonly plan: PlannedPort;
  /** Those servers that it could have. */
  readonly servers: readonly PlannedServer[];
}

/** What a family should have in the kernel, and has as far as this process knows. */
export class IpvsProgram {
  readonly family: IpFamily;
  readonly servers = new Map<string, PlannedServer>();
  readonly #holdings = new Map<string, Holding>();
  #claims = new Claims();
  /** How many need an address on kube-ipvs0. */
  readonly #addresses = new Map<string, number>();
  /** How many need an entry; by purpose, then entry. */
  readonly #entries = new Map<string, { readonly planned: PlannedEntry; count: number }>();
  readonly #sizes = new Map<SetPurpose, number>();
  #node: NodeView;

  constructor(family: IpFamily, node: NodeView) {
    this.family = family;
    this.#node = node;
  }

  get node(): NodeView {
    return this.#node;
  }

  hasAddress(address: string): boolean {
    return this.#addresses.has(address);
  }

  addresses(): Iterable<string> {
    return this.#addresses.keys();
  }

  /** How many entries each set should have. */
  get sizes(): ReadonlyMap<SetPurpose, number> {
    return this.#sizes;
  }

  *entries(): Iterable<PlannedEntry> {
    for (const { planned } of this.#entries.values()) yield planned;
  }

  /** Forgets everything: what is needed is told anew. */
  reset(node: NodeView): void {
    this.#node = node;
    this.servers.clear();
    this.#holdings.clear();
    this.#claims = new Claims();
    this.#addresses.clear();
    this.#entries.clear();
    this.#sizes.clear();
  }

  update(changes: readonly ServicePortChange[]): ProgramUpdate {
    const before = new Snapshot(this.servers);
    const delta = new EntryDelta();
    const conflicts: ServiceConflict[] = [];
    const held = changes.map(({ id }) => ({ id, keys: this.#take(id, before, delta) }));
    for (const { port } of changes) {
      if (port !== undefined) conflicts.push(...this.#put(port, before, delta));
    }
    // Not earlier: who has a place keeps it, whoever else is told of in the same breath.
    for (const { id, keys } of held) {
      const kept = new Set(this.#holdings.get(id)?.servers.map(({ key }) => key));
      const freed = keys.filter((key) => !kept.has(key));
      this.#claims.release(freed, id);
      for (const key of freed) this.#inherit(key, before, delta);
    }
    const settled = conflicts.filter(({ id, what }) => this.#stillWaits(id, what));
    return this.#finish(before, delta, settled);
  }

  /** Gives a freed key to whoever waits for it. */
  #inherit(key: string, before: Snapshot, delta: EntryDelta): void {
    const heir = this.#claims.heir(key);
    if (heir === undefined) return;
    this.#take(heir.id, before, delta);
    this.#put(heir, before, delta);
  }

  #stillWaits(id: string, what: string): boolean {
    const holding = this.#holdings.get(id);
    const wanted = holding?.plan.servers.filter((server) => server.what === what) ?? [];
    return wanted.some(({ key }) => this.#claims.isWaiting(key, id));
  }

  /** Takes out what a service port has, but for its claims; returns the keys of those. */
  #take(id: string, before: Snapshot, delta: EntryDelta): string[] {
    const holding = this.#holdings.get(id);
    if (holding === undefined) return [];
    this.#holdings.delete(id);
    this.#claims.forget(id);
    for (const server of holding.servers) {
      before.keep(server.key);
      this.servers.delete(server.key);
      if (server.bound) this.#unbind(server.server.address, delta);
      for (const entry of server.entries) this.#leave(entry, delta);
    }
    for (const entry of holding.plan.entries) this.#leave(entry, delta);
    return holding.servers.map(({ key }) => key);
  }

  #put(port: ServicePort, before: Snapshot, delta: EntryDelta): ServiceConflict[] {
    const plan = planPort(port, this.#node);
    const conflicts: ServiceConflict[] = [];
    const servers = plan.servers.filter(({ key, what }) => {
      if (this.#claims.take(key, port)) return true;
      const owner = this.#claims.owner(key) ?? '';
      if (!conflicts.some((other) => other.what === what)) conflicts.push({ id: port.id, owner, what });
      return false;
    });
    this.#holdings.set(port.id, { port, plan, servers });
    for (const server of servers) {
      before.keep(server.key);
      this.servers.set(server.key, server);
      if (server.bound) this.#bind(server.server.address, delta);
      for (const entry of server.entries) this.#need(entry, delta);
    }
    for (const entry of plan.entries) this.#need(entry, delta);
    return conflicts;
  }

  #bind(address: string, delta: EntryDelta): void {
    const count = this.#addresses.get(address) ?? 0;
    this.#addresses.set(address, count + 1);
    if (count === 0) delta.addresses.add(address);
    this.#need({ purpose: 'serviceIps', entry: address }, delta);
  }

  #unbind(address: string, delta: EntryDelta): void {
    const count = this.#addresses.get(address) ?? 0;
    if (count > 1) this.#addresses.set(address, count - 1);
    else if (this.#addresses.delete(address)) delta.addresses.remove(address);
    this.#leave({ purpose: 'serviceIps', entry: address }, delta);
  }

  #need(planned: PlannedEntry, delta: EntryDelta): void {
    const key = entryKey(planned);
    const held = this.#entries.get(key);
    if (held === undefined) {
      this.#entries.set(key, { planned, count: 1 });
      this.#sizes.set(planned.purpose, (this.#sizes.get(planned.purpose) ?? 0) + 1);
      delta.entries.add(key);
      delta.planned.set(key, planned);
    } else held.count += 1;
  }

  #leave(planned: PlannedEntry, delta: EntryDelta): void {
    const key = entryKey(planned);
    const held = this.#entries.get(key);
    if (held === undefined) return;
    held.count -= 1;
    if (held.count > 0) return;
    this.#entries.delete(key);
    this.#sizes.set(planned.purpose, (this.#sizes.get(planned.purpose) ?? 1) - 1);
    delta.entries.remove(key);
    delta.planned.set(key, planned);
  }

  #finish(before: Snapshot, delta: EntryDelta, conflicts: ServiceConflict[]): ProgramUpdate {
    const change =
      (operation: 'add' | 'delete') =>
      (key: string): IpsetChange[] => {
        const planned = delta.planned.get(key);
        if (planned === undefined) return [];
        return [{ operation, set: setOf(planned.purpose, this.family), entry: planned.entry }];
      };
    const update: ProgramUpdate = {
      addedEntries: [...delta.entries.added].flatMap(change('add')),
      servers: [],
      addedAddresses: [...delta.addresses.added],
      retired: [],
      deletedServers: [],
      deletedEntries: [...delta.entries.removed].flatMap(change('delete')),
      deletedAddresses: [...delta.addresses.removed],
      conflicts,
    };
    for (const [key, old] of before.kept) diffServer(old, this.servers.get(key), update);
    return update;
  }
}

/** How a server was before the update. */
class Snapshot {
  readonly kept = new Map<string, PlannedServer | undefined>();
  readonly #servers: ReadonlyMap<string, PlannedServer>;

  constructor(servers: ReadonlyMap<string, PlannedServer>) {
    this.#servers = servers;
  }

  keep(key: string): void {
    if (!this.kept.has(key)) this.kept.set(key, this.#servers.get(key));
  }
}

/** What came and what went; what did both within an update is not in it. */
class Comings {
  readonly added = new Set<string>();
  readonly removed = new Set<string>();

  add(key: string): void {
    if (!this.removed.delete(key)) this.added.add(key);
  }

  remove(key: string): void {
    if (!this.added.delete(key)) this.removed.add(key);
  }
}

class EntryDelta {
  readonly entries = new Comings();
  readonly addresses = new Comings();
  readonly planned = new Map<string, PlannedEntry>();
}

/** How the mode has every real server: its share is everybody's. */
export function realServer({ address, port }: RealServerKey, weight = 1): RealServer {
  return { address, port, weight, forwarding: 'masquerade', upperThreshold: 0, lowerThreshold: 0 };
}

export function sameServer(one: VirtualServer, other: VirtualServer): boolean {
  return (
    one.scheduler === other.scheduler &&
    one.flags === other.flags &&
    one.timeoutSeconds === other.timeoutSeconds &&
    one.clientPrefixLength === other.clientPrefixLength
  );
}

function diffServer(
  old: PlannedServer | undefined,
  wanted: PlannedServer | undefined,
  update: Pick<ProgramUpdate, 'servers' | 'retired' | 'deletedServers'>,
): void {
  if (wanted === undefined) {
    if (old !== undefined) update.deletedServers.push({ operation: 'delete-server', server: old.server });
    return;
  }
  const { server, destinations } = wanted;
  if (old === undefined) update.servers.push({ operation: 'add-server', server });
  else if (!sameServer(old.server, server)) update.servers.push({ operation: 'set-server', server });
  for (const [key, destination] of destinations) {
    if (old?.destinations.has(key) === true) continue;
    update.servers.push({ operation: 'add-destination', server, destination: realServer(destination) });
  }
  for (const [key, destination] of old?.destinations ?? []) {
    if (!destinations.has(key)) update.retired.push({ server, destination });
  }
}

function entryKey({ purpose, entry }: PlannedEntry): string {
  return `${purpose} ${entry}`;
}

/** Names a real server among those of all virtual servers. */
export function destinationKey(serverKey: string, destination: RealServerKey): string {
  return `${serverKey} ${realServerText(destination)}`;
}
