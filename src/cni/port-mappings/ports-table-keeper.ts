import type { NftChange, NftElement, NftKernel, NftSet, NftTable } from '../../kernel/nft/objects.ts';
import type { IpFamily } from '../../net/ip.ts';
import type { HostPort } from './host-port.ts';
import {
  allSets,
  createPortsTable,
  elementsOf,
  planPortsTable,
  portSets,
  type PortSets,
  type PortsTable,
} from './ports-table.ts';

/** What a family's table should hold: for each set its keys with their values. */
type Wanted = ReadonlyMap<NftSet, ReadonlyMap<string, NftElement>>;

/** One family's table of host ports in the kernel. */
export class PortsTableKeeper {
  readonly #nft: NftKernel;
  readonly #family: IpFamily;
  readonly #sets: PortSets;
  readonly #plan: PortsTable;
  /** Whether the table is there with today's rules, as far as is known. */
  #loaded = false;

  constructor(nft: NftKernel, family: IpFamily) {
    this.#nft = nft;
    this.#family = family;
    this.#sets = portSets(family);
    this.#plan = planPortsTable(family, this.#sets);
  }

  get table(): NftTable {
    return this.#sets.table;
  }

  /** Adds a pod's ports by one transaction. `all`: what should stand afterwards, for the case that something is amiss. */
  add(ports: readonly HostPort[], all: readonly HostPort[]): void {
    this.#change('add', ports, all);
  }

  /** Takes a pod's ports out by one transaction. */
  remove(ports: readonly HostPort[], all: readonly HostPort[]): void {
    this.#change('delete', ports, all);
  }

  /** Reads the table and brings it to what should stand. Returns whether anything had to be done. */
  sync(all: readonly HostPort[]): boolean {
    const wanted = this.#wanted(all);
    this.#loaded = this.#isLoaded();
    if (this.#loaded)
      return this.#nft.commit(allSets(this.#sets).flatMap((set) => this.#repair(set, wanted)));
    if (this.#ofFamily(all).length === 0) return this.#drop();
    const elements = [...wanted].map(([set, held]): NftChange => {
      return { operation: 'add', set, elements: [...held.values()] };
    });
    this.#nft.commit(createPortsTable(this.#plan, this.#sets, this.#family, elements));
    this.#loaded = true;
    return true;
  }

  /** Takes away a table that nobody needs. */
  drop(): void {
    this.#drop();
  }

  /** Those of the ports that the kernel does not have. */
  missing(ports: readonly HostPort[]): HostPort[] {
    const there = this.#isLoaded();
    return this.#ofFamily(ports).filter(
      (port) =>
        !there || elementsOf(port, this.#sets).some(({ set, element }) => !this.#nft.has(set, element)),
    );
  }

  #change(operation: 'add' | 'delete', ports: readonly HostPort[], all: readonly HostPort[]): void {
    const own = this.#ofFamily(ports);
    if (own.length === 0) return;
    if (!this.#loaded) {
      this.sync(all);
      return;
    }
    const changes = [...this.#wanted(own)].map(([set, held]): NftChange => {
      return { operation, set, elements: [...held.values()] };
    });
    try {
      this.#nft.commit(changes);
    } catch {
      // Somebody else was at the table since it was last looked at.
      this.sync(all);
    }
  }

  #isLoaded(): boolean {
    const chains = this.#nft.chains(this.table);
    if (chains?.includes(this.#plan.marker) !== true) return false;
    const present = this.#nft.ruleCounts(this.table);
    return this.#plan.chains.every(({ chain, rules }) => (present.get(chain) ?? 0) === rules.length);
  }

  #repair(set: NftSet, wanted: Wanted): NftChange[] {
    const held = wanted.get(set) ?? new Map<string, NftElement>();
    const found = new Map(this.#nft.elements(set).map((element) => [element.key, element]));
    const wrong = [...found.values()].filter(
      ({ key, value }) => !held.has(key) || held.get(key)?.value !== value,
    );
    const absent = [...held.values()].filter(
      ({ key, value }) => !found.has(key) || found.get(key)?.value !== value,
    );
    return [
      { operation: 'delete', set, elements: wrong },
      { operation: 'add', set, elements: absent },
    ];
  }

  #wanted(ports: readonly HostPort[]): Wanted {
    const wanted = new Map(allSets(this.#sets).map((set) => [set, new Map<string, NftElement>()]));
    for (const port of this.#ofFamily(ports)) {
      for (const { set, element } of elementsOf(port, this.#sets)) wanted.get(set)?.set(element.key, element);
    }
    return wanted;
  }

  #ofFamily(ports: readonly HostPort[]): HostPort[] {
    return ports.filter(({ family }) => family === this.#family);
  }

  #drop(): boolean {
    this.#loaded = false;
    if (!this.#nft.hasTable(this.table)) return false;
    return this.#nft.commit([{ operation: 'delete-table', table: this.table }]);
  }
}
