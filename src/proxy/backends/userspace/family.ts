import type { ConntrackKernel } from '../../../kernel/conntrack/objects.ts';
import type { IptablesChange, IptablesKernel } from '../../../kernel/iptables/objects.ts';
import { formatRule } from '../../../kernel/iptables/format-rule.ts';
import { describeChange } from '../../../kernel/iptables/restore-text.ts';
import { splitWords } from '../../../kernel/iptables/save-text.ts';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import type { RuleCount } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import type { Chance } from './balancer.ts';
import { CHAINS } from './chains.ts';
import { FamilyProgram, type FamilyUpdate, type Realise } from './family-program.ts';
import { fixedChanges, removal, savedTables } from './fixed-changes.ts';
import { guardRules, jumpsOf, readGuardRule, type FoundPort, type Jump } from './fixed-rules.ts';
import type { Fronts, OpenFronts } from './fronts.ts';
import { completeDifference, difference } from './rule-changes.ts';
import { entryRules, type RuleContext } from './rules.ts';
import { ServiceTable } from './service-table.ts';
import type { FamilyReport, ServingFamily } from './serving-family.ts';
import type { UserspaceSettings } from './settings.ts';
import { deleteAltered, deleteOwn, deleteStrays } from './stale-flows.ts';

export interface FamilyKernels {
  readonly iptables: IptablesKernel;
  readonly conntrack: ConntrackKernel;
  readonly openFronts: OpenFronts;
}

interface Ready {
  readonly fronts: Fronts;
  readonly context: RuleContext;
  readonly program: FamilyProgram;
}

/** Userspace mode in one address family: its sockets, and the rules that lead to them. */
export class UserspaceFamily implements ServingFamily {
  readonly #kernels: FamilyKernels;
  readonly #settings: ProxySettings;
  readonly #mode: UserspaceSettings;
  readonly #chance: Chance;
  readonly #jumps: readonly Jump[];
  readonly #table = new ServiceTable();
  #ready: Ready | undefined;
  #removed = false;
  /** What `prepare` changed: told by the next `rebuild`. */
  #fixed: IptablesChange[] = [];
  /** What of the tables is ours, as it was when it was all there. */
  #intact: string | undefined;

  constructor(kernels: FamilyKernels, settings: ProxySettings, mode: UserspaceSettings, chance: Chance) {
    this.#kernels = kernels;
    this.#settings = settings;
    this.#chance = chance;
    const { family } = kernels.iptables;
    this.#mode = mode;
    const { nodePortAddresses, localhostNodePorts } = settings;
    this.#jumps = jumpsOf({ family, nodePortAddresses, localhostNodePorts });
  }

  get family(): 4 | 6 {
    return this.#kernels.iptables.family;
  }

  get iptables(): IptablesKernel {
    return this.#kernels.iptables;
  }

  get table(): ServiceTable {
    return this.#table;
  }

  /** Where the ports of the process are. Throws PROXY_ADDRESS when the node has no address of this family. */
  get address(): Ip {
    return proxyAddress(this.family, this.#settings, this.#mode);
  }

  get fronts(): Fronts | undefined {
    return this.#ready?.fronts;
  }

  /** Has the sockets open, on the ports that an earlier process had where they are free, and the chains in place. */
  async prepare(): Promise<void> {
    const { iptables, openFronts } = this.#kernels;
    const saved = await savedTables(iptables);
    const { family } = this;
    if (this.#ready === undefined) {
      const former = formerPorts(saved.filter.get(CHAINS.nonLocal) ?? []);
      const { address } = this;
      const { nodeIps, localTraffic } = this.#settings;
      const fronts = await openFronts({ family, address, table: this.#table, nodeIps, former });
      const context = { family, nodeIps, localTraffic, address, ports: fronts.ports };
      this.#ready = {
        fronts,
        context,
        program: new FamilyProgram(realiseByRules(context), this.#table, this.#chance),
      };
    }
    const changes = [
      ...fixedChanges(saved, this.#jumps, family),
      ...missingGuards(saved.filter.get(CHAINS.nonLocal) ?? [], this.#ready.context),
    ];
    await this.#apply(changes);
    this.#fixed.push(...changes);
    this.#removed = false;
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<FamilyReport> {
    const { iptables, conntrack } = this.#kernels;
    const { program, context } = this.#prepared();
    const observed = await this.#observed();
    const update = program.rebuild(ports);
    const groups = [guardRules(context), ...program.ruleGroups()];
    const changes = completeDifference(groups, observed, (rule) => iptables.key(rule));
    await this.#apply(changes);
    update.settle();
    deleteStrays(conntrack, this.#table, context);
    const all = [...this.#fixed, ...changes];
    this.#fixed = [];
    return this.#report(update, all);
  }

  async update(changes: readonly ServicePortChange[]): Promise<FamilyReport> {
    const { program, context } = this.#prepared();
    const update = program.update(changes);
    const rules = difference(update.pairs);
    await this.#apply(rules);
    update.settle();
    deleteAltered(this.#kernels.conntrack, update.pairs, context);
    return this.#report(update, rules);
  }

  async foreignChange(): Promise<boolean> {
    const { iptables } = this.#kernels;
    if (await iptables.alteredByOthers()) return true;
    if (iptables.variant === 'nft') {
      const nat = await iptables.missingChains('nat', [CHAINS.portalsContainer]);
      return nat.length > 0 || (await iptables.missingChains('filter', [CHAINS.nonLocal])).length > 0;
    }
    // Nobody tells of changes: what was intact when it was looked at closely, and was not changed here since, is
    // another's doing when it is different.
    const text = await this.#ownLines();
    if (text === this.#intact) return false;
    const foreign = this.#intact !== undefined || (await this.#isSpoiled());
    this.#intact = foreign ? undefined : text;
    return foreign;
  }

  async #ownLines(): Promise<string> {
    const lines: string[] = [];
    for (const table of ['nat', 'filter'] as const)
      lines.push(...(await this.iptables.save(table)).split('\n'));
    return lines.filter((line) => line.includes('KUBE-')).join('\n');
  }

  async #isSpoiled(): Promise<boolean> {
    const { iptables } = this.#kernels;
    const { program, context } = this.#prepared();
    if (fixedChanges(await savedTables(iptables), this.#jumps, this.family).length > 0) return true;
    const groups = [guardRules(context), ...program.ruleGroups()];
    return completeDifference(groups, await this.#observed(), (rule) => iptables.key(rule)).length > 0;
  }

  async #observed() {
    const { iptables } = this.#kernels;
    return new Map([
      ['nat', await iptables.read('nat')] as const,
      ['filter', await iptables.read('filter')] as const,
    ]);
  }

  async remove(): Promise<void> {
    const { iptables } = this.#kernels;
    const saved = await savedTables(iptables);
    await this.#apply(removal(saved));
    this.#removed = true;
  }

  watch(changed: () => void): () => void {
    return this.#kernels.iptables.watch?.(changed) ?? (() => {});
  }

  retire(drained: () => void): void {
    if (this.#ready === undefined) drained();
    else this.#ready.fronts.retire(drained);
  }

  close(): void {
    const { conntrack, iptables } = this.#kernels;
    this.#ready?.fronts.close();
    // Else they would lead to a port where nobody is, for as long as their clients go on.
    if (this.#removed && this.#ready !== undefined) deleteOwn(conntrack, this.#ready.context);
    this.#ready = undefined;
    conntrack.close();
    iptables.close();
  }

  #prepared(): Ready {
    if (this.#ready === undefined) {
      throw new FlatnetError('userspace mode is not prepared', { code: 'NOT_PREPARED' });
    }
    return this.#ready;
  }

  async #apply(changes: readonly IptablesChange[]): Promise<void> {
    if (changes.length === 0) return;
    this.#intact = undefined;
    await this.#kernels.iptables.apply(changes);
  }

  #report({ conflicts, failures }: FamilyUpdate, changes: readonly IptablesChange[]): FamilyReport {
    const { family } = this;
    const lines = (): string[] => changes.flatMap((change) => describeChange(change, family));
    return {
      describe: lines,
      conflicts,
      failures,
      rules: ruleCounts(changes, this.family, this.#prepared().program.rules),
    };
  }
}

function proxyAddress(family: 4 | 6, settings: ProxySettings, mode: UserspaceSettings): Ip {
  const bound = (mode.bindAddresses ?? []).find((ip) => ip.family === family && ip.value !== 0n);
  const address = bound ?? settings.nodeIps.find((ip) => ip.family === family);
  if (address !== undefined) return address;
  throw new FlatnetError(`userspace mode has no IPv${family} address of this node for its own ports`, {
    code: 'PROXY_ADDRESS',
    hint: `give the node an InternalIP of that family, or bindAddress`,
  });
}

/**
 * Beside those of a process that still serves: its ports are let in until no rule leads there any more, and these
 * before any does.
 */
function missingGuards(rules: readonly string[], context: RuleContext): IptablesChange[] {
  return guardRules(context)
    .filter(({ rule }) => !rules.includes(formatRule(rule, context.family)))
    .map(({ table, chain, rule }) => ({ operation: 'append', table, chain, rule }));
}

function formerPorts(rules: readonly string[]): FoundPort[] {
  return rules.flatMap((rule) => readGuardRule(splitWords(rule)) ?? []);
}

function ruleCounts(
  changes: readonly IptablesChange[],
  family: IpFamily,
  totals: Readonly<Record<'nat' | 'filter', number>>,
): RuleCount[] {
  const written = { nat: 0, filter: 0, mangle: 0 };
  for (const change of changes) {
    if (change.operation === 'write-chain') written[change.table] += change.rules.length;
    else if (change.operation === 'append') written[change.table] += 1;
  }
  return (['nat', 'filter'] as const).map((table) => ({
    family,
    table,
    written: written[table],
    total: totals[table],
  }));
}

function realiseByRules(context: RuleContext): Realise {
  return (port, entry) => {
    const rules = entryRules(port, entry, context);
    const lines = rules.map(({ chain, rule }) => `${chain} ${formatRule(rule, context.family)}`);
    return { rules, text: lines.join('\n') };
  };
}
