import type {
  IptablesChange,
  IptablesKernel,
  ObservedTable,
  TableName,
} from '../../../kernel/iptables/objects.ts';
import { TABLES } from '../../../kernel/iptables/objects.ts';
import type { ProxySettings } from '../../settings.ts';
import { RULE_JUMPS, ruleChains, SHARED_CHAINS, type RuleChain } from './rules.ts';

/** Chains that only the iptables mode has: where they are, the chains that both modes have are its as well. */
const IPTABLES_MODE = /^KUBE-(?:SVC-|SVL-|EXT-|SEP-|FW-|NODEPORTS$)/;

/** The constant rules of one family in iptables. */
export class RuleKeeper {
  readonly kernel: IptablesKernel;
  readonly #chains: readonly RuleChain[];
  /** Tables that were last seen to lack nothing. What is read again without having changed is the same object. */
  readonly #whole = new Map<TableName, ObservedTable>();

  constructor(kernel: IptablesKernel, settings: ProxySettings) {
    this.kernel = kernel;
    this.#chains = ruleChains(settings, kernel.family, kernel.randomFully);
  }

  /**
   * Whether something is missing, at little cost: the tables of ip_tables are in memory and known to be as they are
   * in the kernel; of nf_tables the kernel tells who changed what.
   */
  async isAltered(): Promise<boolean> {
    if (this.kernel.variant === 'nft') return this.kernel.alteredByOthers();
    for (const table of TABLES) {
      const observed = await this.kernel.read(table);
      if (observed === this.#whole.get(table)) continue;
      if (this.#missingIn(table, observed).length > 0) return true;
      this.#whole.set(table, observed);
    }
    return false;
  }

  /** What is not as it should be. */
  async missing(): Promise<IptablesChange[]> {
    this.#whole.clear();
    const changes: IptablesChange[] = [];
    for (const table of TABLES) changes.push(...this.#missingIn(table, await this.kernel.read(table)));
    return changes;
  }

  /** Whether the iptables mode serves at the moment: then its rules stay until everything else is there. */
  async isIptablesModeThere(): Promise<boolean> {
    return [...(await this.kernel.read('nat')).chains()].some((chain) => IPTABLES_MODE.test(chain));
  }

  /** Takes the rules out, but for those of chains that the iptables mode has taken over. */
  async removal(): Promise<IptablesChange[]> {
    const shared = (await this.isIptablesModeThere()) || !(await this.#isThere());
    const changes: IptablesChange[] = [];
    for (const table of TABLES) {
      const observed = await this.kernel.read(table);
      changes.push(...this.#jumpRemoval(table, observed, shared));
      // Those that lead to others before those.
      for (const { chain, ...own } of [...this.#chains].reverse()) {
        const rules = own.table === table ? observed.rules(chain) : undefined;
        if (rules === undefined) continue;
        if (shared && SHARED_CHAINS.has(`${table} ${chain}`))
          changes.push(...this.#setRules(table, chain, rules));
        else changes.push({ operation: 'delete-chain', table, chain });
      }
    }
    return changes;
  }

  /** Else the chains that other programs have too, such as kubelet, are not this mode's. */
  async #isThere(): Promise<boolean> {
    const rules = (await this.kernel.read('nat')).rules('KUBE-SERVICES') ?? [];
    return rules.some((rule) => this.kernel.looksAtSets(rule));
  }

  #missingIn(table: TableName, observed: ObservedTable): IptablesChange[] {
    const changes: IptablesChange[] = [];
    for (const { chain, rules, ...own } of this.#chains) {
      if (own.table !== table) continue;
      const keys = rules.map((rule) => this.kernel.key(rule));
      const found = observed.rules(chain);
      if (found?.length === keys.length && keys.every((key, index) => key === found[index])) continue;
      changes.push({ operation: 'write-chain', table, chain, rules });
    }
    for (const { from, rule, ...own } of RULE_JUMPS) {
      if (own.table !== table || observed.rules(from)?.includes(this.kernel.key(rule)) === true) continue;
      changes.push({ operation: 'prepend', table, chain: from, rule });
    }
    return changes;
  }

  #jumpRemoval(table: TableName, observed: ObservedTable, shared: boolean): IptablesChange[] {
    return RULE_JUMPS.filter((jump) => jump.table === table).flatMap(({ from, rule }) => {
      const to = rule.target?.kind === 'jump' ? rule.target.chain : '';
      if (shared && SHARED_CHAINS.has(`${table} ${to}`)) return [];
      const key = this.kernel.key(rule);
      return (observed.rules(from) ?? []).flatMap((found, index) =>
        found === key ? [{ operation: 'delete-at', table, chain: from, position: index + 1 } as const] : [],
      );
    });
  }

  /** Rules that look at ipsets: this mode's, whoever else has the chain. */
  #setRules(table: TableName, chain: string, rules: readonly string[]): IptablesChange[] {
    return rules.flatMap((rule, index) =>
      this.kernel.looksAtSets(rule)
        ? [{ operation: 'delete-at', table, chain, position: index + 1 } as const]
        : [],
    );
  }
}
