import type { ConntrackKernel } from '../../../kernel/conntrack/objects.ts';
import type { NftChange, NftKernel } from '../../../kernel/nft/objects.ts';
import { NftSocket } from '../../../kernel/nft/nft-socket.ts';
import type { ProxyBackend, SyncReport } from '../../backend.ts';
import type { ProxySettings } from '../../settings.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import { describeChanges } from './describe.ts';
import { FamilyProgram, type FamilyUpdate } from './family-program.ts';
import { deleteStaleFlows, forgetStaleClients } from './stale-connections.ts';

export interface NftablesSyncReport extends SyncReport {
  /** What was changed in the kernel. */
  readonly changes: readonly NftChange[];
}

/** Service ports in nf_tables: one table for each address family, one transaction for each change. */
export class NftablesBackend implements ProxyBackend {
  readonly mode = 'nftables';
  readonly #nft: NftKernel;
  readonly #conntrack: ConntrackKernel | undefined;
  readonly #programs: readonly FamilyProgram[];
  /** What the generation of nf_tables is if nobody else changed anything since the last `rebuild`. */
  #generation = -1;

  constructor(nft: NftKernel, settings: ProxySettings, conntrack?: ConntrackKernel) {
    this.#nft = nft;
    this.#conntrack = conntrack;
    const { nodePortAddresses, nodeIps, localTraffic, serviceCidrs, masqueradeAll, masqueradeBit } = settings;
    const clusterCidrs = localTraffic.kind === 'cidrs' ? localTraffic.cidrs : [];
    const rules = { clusterCidrs, serviceCidrs, masqueradeAll, masqueradeBit };
    const addresses = nodePortAddresses === 'all' ? nodeIps : nodePortAddresses;
    this.#programs = settings.families.map((family) => new FamilyProgram({ ...rules, family }, addresses));
  }

  /** nf_tables of a network namespace (its descriptor); the caller's own when absent. */
  static async open(settings: ProxySettings, options: { netns?: number } = {}): Promise<NftablesBackend> {
    return Promise.resolve(new NftablesBackend(NftSocket.open(options), settings));
  }

  async prepare(): Promise<void> {
    for (const program of this.#programs) await program.prepare(this.#nft);
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<NftablesSyncReport> {
    this.#generation = this.#nft.generation();
    const rebuilds = new Map(
      this.#programs.map((program) => [program.family, program.rebuild(this.#nft)] as const),
    );
    for (const port of ports) rebuilds.get(port.family)?.add(port);
    const updates = this.#programs.flatMap((program) => {
      const update = rebuilds.get(program.family)?.finish();
      return update === undefined ? [] : [{ program, update, retired: 'all' as const }];
    });
    return Promise.resolve(this.#commit(updates));
  }

  async update(changes: readonly ServicePortChange[]): Promise<NftablesSyncReport> {
    const updates = this.#programs.flatMap((program) => {
      const suffix = `/${program.family}`;
      const own = changes.filter((change) => change.id.endsWith(suffix));
      if (own.length === 0) return [];
      const update = program.update(own);
      return [{ program, update, retired: update.retired }];
    });
    return Promise.resolve(this.#commit(updates));
  }

  /** Whether somebody else changed anything in nf_tables since the last `rebuild` began. */
  async foreignChange(): Promise<boolean> {
    return Promise.resolve(this.#nft.generation() !== this.#generation);
  }

  async remove(): Promise<void> {
    const commands = this.#programs.flatMap(({ sets: { table } }) => [
      `add table ${table.family} ${table.name}`,
      `delete table ${table.family} ${table.name}`,
    ]);
    await this.#nft.load(`${commands.join('\n')}\n`);
  }

  async close(): Promise<void> {
    this.#nft.close();
    return Promise.resolve();
  }

  /** Ports that are programmed. */
  get size(): number {
    return this.#programs.reduce((sum, program) => sum + program.size, 0);
  }

  #commit(
    updates: readonly {
      program: FamilyProgram;
      update: FamilyUpdate;
      retired: FamilyUpdate['retired'] | 'all';
    }[],
  ): NftablesSyncReport {
    const changes = updates.flatMap(({ update }) => update.changes);
    if (this.#nft.commit(changes)) this.#generation += 1;
    for (const { program, retired } of updates) {
      this.#generation += forgetStaleClients(this.#nft, program, retired).transactions;
      if (this.#conntrack !== undefined) deleteStaleFlows(this.#conntrack, program, retired);
    }
    return {
      describe: () => describeChanges(changes),
      changes,
      conflicts: updates.flatMap(({ update }) => update.conflicts),
    };
  }
}
