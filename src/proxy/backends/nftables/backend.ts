import type { ConntrackKernel } from '../../../kernel/conntrack/objects.ts';
import type { NftChange, NftKernel } from '../../../kernel/nft/objects.ts';
import type { Cidr } from '../../../net/cidr.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import { FamilyProgram, type FamilyUpdate } from './family-program.ts';
import { deleteStaleFlows, forgetStaleClients } from './stale-connections.ts';

export interface NftablesBackendOptions {
  /** Where node ports answer; service ports of families that no address is of are left out. */
  readonly nodeIps: readonly Ip[];
  readonly clusterCidrs: readonly Cidr[];
  readonly serviceCidrs: readonly Cidr[];
  readonly masqueradeAll: boolean;
  readonly masqueradeBit: number;
}

export interface SyncReport {
  /** What was changed in the kernel; `describeChanges` prints it. */
  readonly changes: readonly NftChange[];
  readonly conflicts: FamilyUpdate['conflicts'];
  readonly deletedFlows: number;
  readonly forgottenClients: number;
  /** Why connections to endpoints that are gone could not be looked for; what was programmed is in the kernel. */
  readonly flowsError?: unknown;
}

/** Service ports in nf_tables: one table for each address family, one transaction for each change. */
export class NftablesBackend {
  readonly #nft: NftKernel;
  readonly #conntrack: ConntrackKernel;
  readonly #programs: readonly FamilyProgram[];
  /** What the generation of nf_tables is if nobody else changed anything since the last `rebuild`. */
  #generation = -1;

  constructor(nft: NftKernel, conntrack: ConntrackKernel, options: NftablesBackendOptions) {
    this.#nft = nft;
    this.#conntrack = conntrack;
    const { nodeIps, ...rules } = options;
    this.#programs = familiesOf(nodeIps).map((family) => new FamilyProgram({ ...rules, family }, nodeIps));
  }

  /** Loads the constant rules where they are missing or others. What they lead to stays. */
  async prepare(): Promise<void> {
    for (const program of this.#programs) await program.prepare(this.#nft);
  }

  /** Reads what the kernel holds and brings it to what these service ports need, deleting what they do not. */
  rebuild(ports: Iterable<ServicePort>): SyncReport {
    this.#generation = this.#nft.generation();
    const rebuilds = new Map(
      this.#programs.map((program) => [program.family, program.rebuild(this.#nft)] as const),
    );
    for (const port of ports) rebuilds.get(port.family)?.add(port);
    const updates = this.#programs.flatMap((program) => {
      const update = rebuilds.get(program.family)?.finish();
      return update === undefined ? [] : [{ program, update, retired: 'all' as const }];
    });
    return this.#commit(updates);
  }

  /** Programs what changed, and looks at nothing else. */
  update(changes: readonly ServicePortChange[]): SyncReport {
    const updates = this.#programs.flatMap((program) => {
      const suffix = `/${program.family}`;
      const own = changes.filter((change) => change.id.endsWith(suffix));
      if (own.length === 0) return [];
      const update = program.update(own);
      return [{ program, update, retired: update.retired }];
    });
    return this.#commit(updates);
  }

  /** Whether somebody else changed anything in nf_tables since the last `rebuild` began. */
  get foreignChange(): boolean {
    return this.#nft.generation() !== this.#generation;
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
  ): SyncReport {
    const changes = updates.flatMap(({ update }) => update.changes);
    if (this.#nft.commit(changes)) this.#generation += 1;
    let deletedFlows = 0;
    let forgottenClients = 0;
    let flowsError: unknown;
    for (const { program, retired } of updates) {
      const forgotten = forgetStaleClients(this.#nft, program, retired);
      forgottenClients += forgotten.clients;
      this.#generation += forgotten.transactions;
      try {
        deletedFlows += deleteStaleFlows(this.#conntrack, program, retired);
      } catch (error) {
        // A kernel without ctnetlink, say: no reason to leave Services unprogrammed.
        flowsError = error;
      }
    }
    return {
      changes,
      conflicts: updates.flatMap(({ update }) => update.conflicts),
      deletedFlows,
      forgottenClients,
      flowsError,
    };
  }
}

/** A node that has no address of a family cannot serve it, and its kernel may not even have it. */
function familiesOf(nodeIps: readonly Ip[]): IpFamily[] {
  const families = ([4, 6] as const).filter((family) => nodeIps.some((ip) => ip.family === family));
  return families.length === 0 ? [4, 6] : families;
}
