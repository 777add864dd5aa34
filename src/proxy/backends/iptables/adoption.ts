import type {
  IptablesChange,
  IptablesKernel,
  ObservedTables,
  TableName,
} from '../../../kernel/iptables/objects.ts';
import type { IptablesRule } from '../../../kernel/iptables/rule.ts';
import { isServiceChain } from './chain-names.ts';
import type { FixedChain, FixedJump } from './fixed-rules.ts';
import type { PortPlan } from './plan.ts';

/** The way from whatever the kernel has to all that is wanted: what is right already is not touched. */
export class Adoption {
  readonly #kernel: Pick<IptablesKernel, 'key'>;
  readonly #observed: ObservedTables;
  readonly #wanted = new Set<string>();
  readonly #chains: IptablesChange[] = [];
  readonly #shared = new Map<string, IptablesRule[]>();

  constructor(kernel: Pick<IptablesKernel, 'key'>, observed: ObservedTables) {
    this.#kernel = kernel;
    this.#observed = observed;
  }

  add(plan: PortPlan): void {
    for (const [chain, rules] of plan.chains) {
      this.#wanted.add(chain);
      this.#write('nat', chain, rules, this.#chains);
    }
    for (const { table, chain, rule } of plan.shared) {
      const key = `${table} ${chain}`;
      const rules = this.#shared.get(key);
      if (rules === undefined) this.#shared.set(key, [rule]);
      else rules.push(rule);
    }
  }

  changes(fixed: readonly FixedChain[], jumps: readonly FixedJump[]): IptablesChange[] {
    const changes: Record<'mangle' | 'filter', IptablesChange[]> = { mangle: [], filter: [] };
    // Service chains lead to the fixed ones, and shared ones to service chains.
    const early: IptablesChange[] = [];
    const late: IptablesChange[] = [];
    for (const chain of fixed) {
      const into = chain.table === 'nat' ? (chain.shared === true ? late : early) : changes[chain.table];
      this.#fixed(chain, into);
    }
    const hooked = { mangle: changes.mangle, filter: changes.filter, nat: late };
    for (const jump of jumps) this.#jump(jump, hooked[jump.table]);
    return [...changes.mangle, ...changes.filter, ...early, ...this.#chains, ...late, ...this.#stale()];
  }

  #fixed({ table, chain, rules, shared, foreign }: FixedChain, into: IptablesChange[]): void {
    const observed = this.#observed[table].rules(chain);
    if (shared === true) {
      const own = this.#shared.get(`${table} ${chain}`) ?? [];
      if (observed === undefined) {
        into.push({ operation: 'write-chain', table, chain, rules: [...own, ...rules] });
      } else this.#unordered(table, chain, observed, own, rules, into);
    } else if (foreign === true && observed !== undefined) {
      const missing = rules.filter((rule) => !observed.includes(this.#kernel.key(rule)));
      for (const rule of missing) into.push({ operation: 'append', table, chain, rule });
    } else this.#write(table, chain, rules, into);
  }

  #write(table: TableName, chain: string, rules: readonly IptablesRule[], into: IptablesChange[]): void {
    const observed = this.#observed[table].rules(chain);
    const same =
      observed?.length === rules.length &&
      rules.every((rule, index) => observed[index] === this.#kernel.key(rule));
    if (!same) into.push({ operation: 'write-chain', table, chain, rules });
  }

  /** `own` in any order, then `last`; single rules go and come where that is less than to write the chain anew. */
  #unordered(
    table: TableName,
    chain: string,
    observed: readonly string[],
    own: readonly IptablesRule[],
    last: readonly IptablesRule[],
    into: IptablesChange[],
  ): void {
    const tail = last.map((rule) => this.#kernel.key(rule));
    const hasTail = tail.every((key, index) => observed[observed.length - tail.length + index] === key);
    const missing = new Map<string, IptablesRule[]>();
    for (const rule of own) {
      const key = this.#kernel.key(rule);
      missing.set(key, [...(missing.get(key) ?? []), rule]);
    }
    const extra: number[] = [];
    for (const [index, key] of observed.entries()) {
      if (hasTail && index >= observed.length - tail.length) break;
      const wanted = missing.get(key);
      if (wanted === undefined) extra.push(index + 1);
      else if (wanted.length === 1) missing.delete(key);
      else wanted.pop();
    }
    const added = [...missing.values()].flat();
    if (added.length + extra.length > 20 + own.length / 10) {
      into.push({ operation: 'write-chain', table, chain, rules: [...own, ...last] });
      return;
    }
    for (const position of extra) into.push({ operation: 'delete-at', table, chain, position });
    for (const rule of added.reverse()) into.push({ operation: 'prepend', table, chain, rule });
    if (!hasTail) for (const rule of last) into.push({ operation: 'append', table, chain, rule });
  }

  #jump({ table, from, rule }: FixedJump, into: IptablesChange[]): void {
    const key = this.#kernel.key(rule);
    const observed = this.#observed[table].rules(from) ?? [];
    const positions = observed.flatMap((other, index) => (other === key ? [index + 1] : []));
    if (positions.length === 0) into.push({ operation: 'prepend', table, chain: from, rule });
    for (const position of positions.slice(1)) {
      into.push({ operation: 'delete-at', table, chain: from, position });
    }
  }

  /** Chains of service ports and endpoints that are gone; those that lead to others first. */
  #stale(): IptablesChange[] {
    const stale = [...this.#observed.nat.chains()].filter(
      (chain) => isServiceChain(chain) && !this.#wanted.has(chain),
    );
    stale.sort((a, b) => staleOrder(a) - staleOrder(b));
    return stale.map((chain) => ({ operation: 'delete-chain', table: 'nat', chain }));
  }
}

const STALE_ORDER = ['KUBE-FW-', 'KUBE-EXT-', 'KUBE-SVC-', 'KUBE-SVL-', 'KUBE-SEP-'];

function staleOrder(chain: string): number {
  return STALE_ORDER.findIndex((start) => chain.startsWith(start));
}
