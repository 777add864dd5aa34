import type { IptablesChange, TableName } from '../../../kernel/iptables/objects.ts';
import type { PortPlan } from './plan.ts';

/** How many rules, by table. */
export class RuleCounts {
  readonly #counts = new Map<TableName, number>();

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  of(table: TableName): number {
    return this.#counts.get(table) ?? 0;
  }

  add(table: TableName, by: number): void {
    this.#counts.set(table, this.of(table) + by);
  }

  /** The rules of one service port; its chains are all in the table nat. */
  addPlan(plan: PortPlan, sign: 1 | -1 = 1): void {
    for (const rules of plan.chains.values()) this.add('nat', sign * rules.length);
    for (const { table } of plan.shared) this.add(table, sign);
  }

  addAll(other: RuleCounts): void {
    for (const [table, count] of other.#counts) this.add(table, count);
  }
}

/** How many rules these changes write. */
export function countWritten(changes: readonly IptablesChange[]): RuleCounts {
  const counts = new RuleCounts();
  for (const change of changes) {
    if (change.operation === 'write-chain') counts.add(change.table, change.rules.length);
    else if (change.operation === 'prepend' || change.operation === 'append') counts.add(change.table, 1);
  }
  return counts;
}
