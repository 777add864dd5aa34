import type {
  IptablesChange,
  IptablesKernel,
  ObservedTable,
  TableName,
} from '../../../kernel/iptables/objects.ts';
import { TABLES } from '../../../kernel/iptables/objects.ts';
import { SET_OPTION } from '../../../kernel/iptables/format-rule.ts';
import { observedText } from '../../../kernel/iptables/save-text.ts';
import type { ProxySettings } from '../../settings.ts';
import { jumpRemoval } from '../jump-removal.ts';
import { FORMER_CHAINS, OWN_CHAINS, RULE_JUMPS, ruleChains, SHARED_CHAINS, type RuleChain } from './rules.ts';

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

  /** What is not as it should be, with what kube-proxy has and this mode has not. */
  async missing(): Promise<IptablesChange[]> {
    this.#whole.clear();
    const changes: IptablesChange[] = [];
    for (const table of TABLES) {
      const observed = await this.kernel.read(table);
      changes.push(...this.#missingIn(table, observed));
      const former = FORMER_CHAINS.filter(
        (one) => one.table === table && observed.rules(one.chain) !== undefined,
      );
      if (former.length > 0) changes.push(...deletion(table, await this.#text(table), namesOf(former)));
    }
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
      const own = [...OWN_CHAINS, ...FORMER_CHAINS].filter((one) => one.table === table);
      const stays = (chain: string): boolean => shared && SHARED_CHAINS.has(`${table} ${chain}`);
      const goes = namesOf(own.filter(({ chain }) => !stays(chain)));
      const observed = await this.#text(table);
      changes.push(...deletion(table, observed, goes));
      for (const chain of namesOf(own)) {
        if (stays(chain)) changes.push(...ownRules(table, chain, observed.rules(chain) ?? [], goes));
      }
    }
    return changes;
  }

  /** Else the chains that other programs have too, such as kubelet, are not this mode's. */
  async #isThere(): Promise<boolean> {
    const nat = await this.kernel.read('nat');
    if (nat.rules('KUBE-NODE-PORT') !== undefined || nat.rules('KUBE-LOAD-BALANCER') !== undefined)
      return true;
    return (nat.rules('KUBE-SERVICES') ?? []).some((rule) => this.kernel.looksAtSets(rule));
  }

  /** As iptables-save prints it. */
  async #text(table: TableName): Promise<ObservedTable> {
    return observedText(await this.kernel.save(table), table);
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
}

function namesOf(chains: readonly { readonly chain: string }[]): Set<string> {
  return new Set(chains.map(({ chain }) => chain));
}

/** `observed` has rules as iptables-save prints them. */
function deletion(table: TableName, observed: ObservedTable, chains: ReadonlySet<string>): IptablesChange[] {
  const there = [...chains].filter((chain) => observed.rules(chain) !== undefined);
  return [
    ...jumpRemoval(table, observed, (chain) => chains.has(chain)),
    ...there.map((chain) => ({ operation: 'delete-chain', table, chain }) as const),
  ];
}

/** Rules that look at ipsets or lead to what goes: this mode's, whoever else has the chain. */
function ownRules(
  table: TableName,
  chain: string,
  rules: readonly string[],
  goes: ReadonlySet<string>,
): IptablesChange[] {
  return rules.flatMap((rule, index) =>
    SET_OPTION.test(rule) || goes.has(/-[jg] (KUBE-[A-Z-]+)$/.exec(rule)?.[1] ?? '')
      ? [{ operation: 'delete-at', table, chain, position: index + 1 } as const]
      : [],
  );
}
