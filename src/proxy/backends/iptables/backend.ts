import { FlatnetError } from '../../../errors/flatnet-error.ts';
import {
  TABLES,
  type IptablesChange,
  type IptablesKernel,
  type IptablesVariant,
  type ObservedTable,
  type ObservedTables,
  type TableName,
} from '../../../kernel/iptables/objects.ts';
import { openIptables } from '../../../kernel/iptables/open.ts';
import { describeChange } from '../../../kernel/iptables/restore-text.ts';
import { observedText } from '../../../kernel/iptables/save-text.ts';
import { chooseVariant } from '../../../kernel/iptables/variant.ts';
import type { Logger } from '../../../log/logger.ts';
import type { PacketCounts, ProxyBackend, ServiceConflict, SyncReport } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { CANARY } from './chain-names.ts';
import { FamilyProgram, type FamilyUpdate } from './family-program.ts';
import { INVALID_COUNTER, LOCALHOST_COUNTER, servesLocalhost } from './fixed-rules.ts';
import { KernelNodeState, type NodeState } from './node-state.ts';
import { removalOf } from './removal.ts';

export interface IptablesModeSettings {
  /** Default: the one that the node uses already (`detectVariant`). */
  readonly variant?: IptablesVariant;
}

interface Family {
  readonly kernel: IptablesKernel;
  readonly program: FamilyProgram;
}

/** The tables whose rules kube-proxy's metrics count. */
const COUNTED = ['nat', 'filter'] as const;
/** Canaries are looked for in one of so many audits; kube-proxy does it every 30 seconds. */
const AUDITS_OF_CANARIES = 10;

/** Service ports in the chains of iptables that kube-proxy has, by the same names. */
export class IptablesBackend implements ProxyBackend {
  readonly mode = 'iptables';
  readonly watch?: (changed: () => void) => () => void;
  readonly #families: readonly Family[];
  readonly #settings: ProxySettings;
  readonly #node: NodeState;
  #audits = 0;

  /** `kernels`: one for each family that is to be served. */
  constructor(kernels: readonly IptablesKernel[], node: NodeState, settings: ProxySettings) {
    this.#node = node;
    this.#settings = settings;
    this.#families = kernels.map((kernel) => ({ kernel, program: new FamilyProgram(kernel, settings) }));
    if (kernels.some((kernel) => 'watch' in kernel)) this.watch = (changed) => watchAll(kernels, changed);
  }

  /** Opens iptables of a network namespace. Throws IPTABLES_MISSING where the node has no iptables. */
  static async open(
    settings: ProxySettings,
    modeSettings: IptablesModeSettings = {},
    logger?: Logger,
    netns?: number,
  ): Promise<IptablesBackend> {
    const { variant, why } = await chooseVariant(modeSettings.variant, netns);
    logger?.info({ variant, why }, `iptables variant ${variant}: ${why}`);
    const kernels: IptablesKernel[] = [];
    for (const family of settings.families)
      kernels.push(await openIptables({ family, variant, netns, inProcess: true }));
    return new IptablesBackend(kernels, new KernelNodeState(netns), settings);
  }

  async prepare(): Promise<void> {
    const counters = new Set<string>();
    for (const name of [INVALID_COUNTER, LOCALHOST_COUNTER])
      if (this.#node.ensureCounter(name)) counters.add(name);
    const tcpBeLiberal = this.#node.tcpBeLiberal();
    for (const { kernel, program } of this.#families) {
      if (servesLocalhost(this.#settings, kernel.family)) this.#node.routeLocalnet();
      program.learn({ counters, tcpBeLiberal });
      await kernel.probe();
    }
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<SyncReport> {
    const all = [...ports];
    const updates: [Family, FamilyUpdate][] = [];
    for (const family of this.#families) {
      const own = all.filter((port) => port.family === family.kernel.family);
      updates.push([family, await this.#rebuildFamily(family, own)]);
    }
    return this.#report(updates);
  }

  async update(changes: readonly ServicePortChange[]): Promise<SyncReport> {
    const updates: [Family, FamilyUpdate][] = [];
    for (const family of this.#families) {
      const suffix = `/${family.kernel.family}`;
      const own = changes.filter(({ id }) => id.endsWith(suffix));
      if (own.length === 0) continue;
      const update = family.program.update(own);
      await family.kernel.apply(update.changes);
      updates.push([family, update]);
    }
    return this.#report(updates);
  }

  async foreignChange(): Promise<boolean> {
    for (const { kernel } of this.#families) if (await kernel.alteredByOthers()) return true;
    // What a kernel does not tell of, as kube-proxy finds it: the tables were flushed if its canaries are gone.
    this.#audits += 1;
    if (this.#audits % AUDITS_OF_CANARIES !== 0) return false;
    for (const { kernel } of this.#families) {
      for (const table of TABLES) {
        if ((await kernel.missingChains(table, [CANARY])).length > 0) return true;
      }
    }
    return false;
  }

  packetCounts(): PacketCounts {
    const [invalidDropped, localhostNodePorts] = [INVALID_COUNTER, LOCALHOST_COUNTER].map((name) =>
      this.#node.packets(name),
    );
    return {
      ...(invalidDropped === undefined ? {} : { invalidDropped }),
      ...(localhostNodePorts === undefined ? {} : { localhostNodePorts }),
    };
  }

  async remove(): Promise<void> {
    for (const { kernel } of this.#families) {
      await kernel.apply(removalOf(await readText(kernel)));
    }
  }

  async close(): Promise<void> {
    for (const { kernel } of this.#families) kernel.close();
    this.#node.close();
    return Promise.resolve();
  }

  async #rebuildFamily({ kernel, program }: Family, ports: readonly ServicePort[]): Promise<FamilyUpdate> {
    try {
      const update = program.rebuild(await kernel.readAll(), ports);
      await kernel.apply(update.changes);
      return update;
    } catch (error) {
      // Counters are there, but the match that counts in them is not (no xt_nfacct).
      if (!(error instanceof FlatnetError) || !error.message.includes('nfacct')) throw error;
      program.learn({ counters: new Set(), tcpBeLiberal: this.#node.tcpBeLiberal() });
      const update = program.rebuild(await kernel.readAll(), ports);
      await kernel.apply(update.changes);
      return update;
    }
  }

  #report(updates: readonly [Family, FamilyUpdate][]): SyncReport {
    const conflicts: ServiceConflict[] = updates.flatMap(([, update]) => update.conflicts);
    const tables = this.#families.flatMap((family) =>
      COUNTED.map((table) => {
        const written = updates.find(([updated]) => updated === family)?.[1].written.of(table) ?? 0;
        return { family: family.kernel.family, table, written, total: family.program.rules.of(table) };
      }),
    );
    const written = updates.reduce((sum, [, update]) => sum + update.written.total, 0);
    const total = this.#families.reduce((sum, { program }) => sum + program.rules.total, 0);
    const describe = (): string[] =>
      updates.flatMap(([{ kernel }, { changes }]) => describeAll(changes, kernel));
    return { describe, conflicts, rules: { written, total, tables } };
  }
}

function describeAll(changes: readonly IptablesChange[], { family }: IptablesKernel): string[] {
  const tool = family === 4 ? 'iptables' : 'ip6tables';
  return changes.flatMap((change) =>
    describeChange(change, family).map((line) => `${tool} -t ${change.table} ${line}`),
  );
}

/** As iptables-save prints it. */
async function readText(kernel: IptablesKernel): Promise<ObservedTables> {
  if (kernel.variant === 'nft') return kernel.readAll();
  const table = async (name: TableName): Promise<ObservedTable> =>
    observedText(await kernel.save(name), name);
  return { mangle: await table('mangle'), nat: await table('nat'), filter: await table('filter') };
}

function watchAll(kernels: readonly IptablesKernel[], changed: () => void): () => void {
  const ends = kernels.map((kernel) => kernel.watch?.(changed));
  return () => {
    for (const end of ends) end?.();
  };
}
