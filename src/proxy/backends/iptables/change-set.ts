import type { IptablesChange, IptablesKernel, TableName } from '../../../kernel/iptables/objects.ts';
import type { IptablesRule } from '../../../kernel/iptables/rule.ts';
import type { PortPlan, SharedRule } from './plan.ts';
import { RuleCounts } from './rule-counts.ts';

/** What some service ports have before and after a change, and the way from the one to the other. */
export class ChangeSet {
  readonly #kernel: Pick<IptablesKernel, 'key'>;
  readonly #before = new Map<string, readonly IptablesRule[]>();
  readonly #after = new Map<string, readonly IptablesRule[]>();
  readonly #shared = new Map<string, { readonly rule: SharedRule; count: number }>();
  /** By how many rules the whole grows. */
  readonly growth = new RuleCounts();

  constructor(kernel: Pick<IptablesKernel, 'key'>) {
    this.#kernel = kernel;
  }

  /** What is in the kernel for one of the service ports. */
  was(plan: PortPlan): void {
    for (const [chain, rules] of plan.chains) this.#before.set(chain, rules);
    for (const rule of plan.shared) this.#count(rule, -1);
    this.growth.addPlan(plan, -1);
  }

  /** What is to be in the kernel for one of them. */
  becomes(plan: PortPlan): void {
    for (const [chain, rules] of plan.chains) this.#after.set(chain, rules);
    for (const rule of plan.shared) this.#count(rule, 1);
    this.growth.addPlan(plan);
  }

  /**
   * Refusals come first and go last: at no moment is a ClusterIP neither translated nor refused, so that its packets
   * never leave the node as they are.
   */
  changes(): IptablesChange[] {
    const changes = this.#rulesOf('filter', 1);
    for (const [chain, rules] of this.#after) {
      const before = this.#before.get(chain);
      if (before === undefined || !this.#same(before, rules)) {
        changes.push({ operation: 'write-chain', table: 'nat', chain, rules });
      }
    }
    changes.push(...this.#rulesOf('nat', 1), ...this.#rulesOf('nat', -1));
    const gone = [...this.#before.keys()].filter((chain) => !this.#after.has(chain));
    for (const chain of gone.reverse()) changes.push({ operation: 'delete-chain', table: 'nat', chain });
    changes.push(...this.#rulesOf('filter', -1));
    return changes;
  }

  /** Rules to add (1) or to delete (-1). Later ones are added first, as each goes to the front. */
  #rulesOf(table: TableName, sign: 1 | -1): IptablesChange[] {
    const changes: IptablesChange[] = [];
    for (const { rule: shared, count } of this.#shared.values()) {
      if (shared.table !== table) continue;
      const { chain, rule } = shared;
      const operation = sign === 1 ? 'prepend' : 'delete';
      for (let left = count * sign; left > 0; left -= 1) changes.push({ operation, table, chain, rule });
    }
    return sign === 1 ? changes.reverse() : changes;
  }

  #count(rule: SharedRule, by: number): void {
    const key = `${rule.table} ${rule.chain} ${this.#kernel.key(rule.rule)}`;
    const known = this.#shared.get(key);
    if (known === undefined) this.#shared.set(key, { rule, count: by });
    else known.count += by;
  }

  #same(a: readonly IptablesRule[], b: readonly IptablesRule[]): boolean {
    return (
      a.length === b.length &&
      a.every((rule, index) => {
        const other = b[index];
        return other !== undefined && this.#kernel.key(rule) === this.#kernel.key(other);
      })
    );
  }
}
