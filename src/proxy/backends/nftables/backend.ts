import type { NftChange, NftKernel } from '../../../kernel/nft/objects.ts';
import { NftSocket } from '../../../kernel/nft/nft-socket.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxyBackend, SyncReport } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { describeChanges } from './describe.ts';
import { FamilyProgram, type FamilyRebuild, type FamilyUpdate } from './family-program.ts';
import { explainRefusal } from './probe.ts';
import { proxySets } from './sets.ts';

/** Service ports of one transaction of the first sync: some thousands of elements, which take the kernel milliseconds. */
const PORTS_AHEAD = 500;

/**
 * Service ports in nf_tables: one table for each address family, one transaction for each change. The rules are the
 * same whatever Services there are; Services are elements of maps.
 */
export class NftablesBackend implements ProxyBackend {
  readonly mode = 'nftables';
  readonly #nft: NftKernel;
  readonly #programs: readonly FamilyProgram[];
  /** What the generation of nf_tables is if nobody else changed anything since the last `rebuild`. */
  #generation = -1;
  /** Who wants to be told when somebody else changed our tables. */
  #watcher: (() => void) | undefined;
  #endWatch: (() => void) | undefined;
  /**
   * Somebody else changed our tables or may have, or a transaction was refused: what is there is looked at (`check`),
   * or not worth it, as what rules say cannot be seen (`replace`).
   */
  #altered: 'check' | 'replace' | undefined;
  #prepared = false;

  /** A family that no node address is of, and that the node may not even have, belongs not into the settings. */
  constructor(nft: NftKernel, settings: ProxySettings) {
    this.#nft = nft;
    this.#programs = settings.families.map((family) => new FamilyProgram(settings, family));
  }

  /** nf_tables of a network namespace (its descriptor); the caller's own when absent. */
  static async open(settings: ProxySettings, options: { netns?: number } = {}): Promise<NftablesBackend> {
    return Promise.resolve(new NftablesBackend(NftSocket.open(options), settings));
  }

  async prepare(): Promise<void> {
    try {
      for (const program of this.#programs) program.prepare(this.#nft, this.#altered === 'replace');
    } catch (error) {
      throw this.#explain(error);
    }
    this.#prepared = true;
    return Promise.resolve();
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<SyncReport> {
    if (this.#altered !== undefined && !this.#prepared) await this.prepare();
    // What is told from here on would be our own doing: more than a socket can hold.
    this.#endWatch?.();
    this.#endWatch = undefined;
    this.#prepared = false;
    // What others do from here on is noticed, even if it happens before the rebuild is through.
    this.#generation = this.#nft.generation();
    const rebuilds = new Map(
      this.#programs.map((program) => [program.family, program.rebuild(this.#nft)] as const),
    );
    const report = await this.#program(ports, rebuilds);
    this.#altered = undefined;
    this.#listen();
    return report;
  }

  async update(changes: readonly ServicePortChange[]): Promise<SyncReport> {
    const updates = this.#programs.flatMap((program) => {
      const suffix = `/${program.family}`;
      const own = changes.filter((change) => change.id.endsWith(suffix));
      return own.length === 0 ? [] : [program.update(own)];
    });
    return Promise.resolve(this.#commit(updates));
  }

  /**
   * Whether somebody else changed our tables; while nobody listens to what the kernel tells, whether anybody changed
   * anything in nf_tables, since the last `rebuild` began.
   */
  async foreignChange(): Promise<boolean> {
    if (this.#endWatch === undefined && this.#nft.generation() !== this.#generation)
      this.#altered ??= 'check';
    return Promise.resolve(this.#altered !== undefined);
  }

  watch(changed: () => void): () => void {
    this.#watcher = changed;
    if (this.#generation !== -1) this.#listen();
    return () => {
      this.#watcher = undefined;
      this.#endWatch?.();
      this.#endWatch = undefined;
    };
  }

  async remove(): Promise<void> {
    // Of both families, whatever the settings: an earlier run may have had others.
    for (const family of [4, 6] as const) {
      const { table } = proxySets(family);
      if (this.#nft.hasTable(table)) this.#nft.commit([{ operation: 'delete-table', table }]);
    }
    return Promise.resolve();
  }

  async close(): Promise<void> {
    this.#watcher = undefined;
    this.#endWatch?.();
    this.#nft.close();
    return Promise.resolve();
  }

  /**
   * In one transaction. Where nothing is there yet, so that nobody could see half of a change, in several: the kernel
   * takes one of them while the next is being planned.
   */
  async #program(
    ports: Iterable<ServicePort>,
    rebuilds: ReadonlyMap<IpFamily, FamilyRebuild>,
  ): Promise<SyncReport> {
    const all = [...rebuilds.values()];
    const first = all.every(({ isFirst }) => isFirst);
    const done: NftChange[] = [];
    let ahead = Promise.resolve();
    let told = 0;
    try {
      for (const port of ports) {
        rebuilds.get(port.family)?.add(port);
        told += 1;
        if (!first || told % PORTS_AHEAD !== 0) continue;
        const changes = all.flatMap((rebuild) => rebuild.take());
        await ahead;
        ahead = this.#commitAside(changes);
        // Looked at when the next is ready.
        ahead.catch(() => undefined);
        done.push(...changes);
      }
    } finally {
      await ahead;
    }
    return this.#commit(
      all.map((rebuild) => rebuild.finish()),
      done,
    );
  }

  async #commitAside(changes: readonly NftChange[]): Promise<void> {
    try {
      if (await this.#nft.commitAside(changes)) this.#generation += 1;
    } catch (error) {
      this.#altered ??= 'check';
      throw this.#explain(error);
    }
  }

  #explain(error: unknown): unknown {
    const families = this.#programs.map(({ family }) => family);
    return explainRefusal(this.#nft, families, error);
  }

  #listen(): void {
    if (this.#watcher === undefined || this.#endWatch !== undefined) return;
    const alter = (how: 'check' | 'replace'): void => {
      if (this.#altered !== 'replace') this.#altered = how;
      this.#watcher?.();
    };
    const tables = this.#programs.map(({ sets }) => sets.table);
    this.#endWatch = this.#nft.watch(tables, (what) => {
      // Our own transaction may have been more than the socket could hold.
      if (what === 'lost' && this.#nft.generation() === this.#generation) return;
      alter(what === 'structure' ? 'replace' : 'check');
    });
    if (this.#nft.generation() !== this.#generation) alter('check');
  }

  /** `done`: what was committed before. */
  #commit(updates: readonly FamilyUpdate[], done: readonly NftChange[] = []): SyncReport {
    const changes: NftChange[] = updates.flatMap((update) => update.changes);
    try {
      if (this.#nft.commit(changes)) this.#generation += 1;
    } catch (error) {
      this.#altered ??= 'check';
      throw this.#explain(error);
    }
    return {
      describe: () => describeChanges([...done, ...changes]),
      conflicts: updates.flatMap(({ conflicts }) => conflicts),
      failures: updates.flatMap(({ failures }) => failures),
    };
  }
}
