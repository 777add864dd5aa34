import type { IptablesChange, ObservedTable } from '../../../kernel/iptables/objects.ts';
import type { IptablesRule } from '../../../kernel/iptables/rule.ts';
import { FILTER_CHAINS, NAT_CHAINS } from './chains.ts';
import type { EntryPair } from './family-program.ts';
import type { PlacedRule } from './rules.ts';

type RuleKey = (rule: IptablesRule) => string;

/** Whole chains, where they differ from what they should hold: these groups, each in its order. */
export function completeDifference(
  groups: Iterable<readonly PlacedRule[]>,
  observed: ReadonlyMap<string, ObservedTable>,
  key: RuleKey,
): IptablesChange[] {
  const chains = [
    ...NAT_CHAINS.map((chain) => ({ table: 'nat', chain }) as const),
    ...FILTER_CHAINS.map((chain) => ({ table: 'filter', chain }) as const),
  ];
  const wanted = new Map<string, IptablesRule[][]>(chains.map(({ chain }) => [chain, []]));
  for (const group of groups) for (const [chain, rules] of byChain(group)) wanted.get(chain)?.push(rules);
  return chains.flatMap(({ table, chain }) => {
    const own = wanted.get(chain) ?? [];
    const found = observed.get(table)?.rules(chain);
    if (found !== undefined && holds(found, own, key)) return [];
    return [{ operation: 'write-chain', table, chain, rules: own.flat() } as const];
  });
}

/** Rules of one entry stand behind each other: in a chain where any of them changes, all are written anew. */
export function difference(pairs: readonly EntryPair[]): IptablesChange[] {
  const removed: IptablesChange[] = [];
  const added: IptablesChange[] = [];
  for (const { before, after } of pairs) {
    for (const { table, chain, rule } of before) removed.push({ operation: 'delete', table, chain, rule });
    for (const { table, chain, rule } of after) added.push({ operation: 'append', table, chain, rule });
  }
  // All of one table at once; what is deleted first cannot be taken for the same rule that is added.
  return [...removed, ...added];
}

function byChain(rules: readonly PlacedRule[]): Map<string, IptablesRule[]> {
  const chains = new Map<string, IptablesRule[]>();
  for (const { chain, rule } of rules) {
    const known = chains.get(chain);
    if (known === undefined) chains.set(chain, [rule]);
    else known.push(rule);
  }
  return chains;
}

/** Whether a chain holds these rules and no others. Those of one group must be in their order, groups need not. */
function holds(found: readonly string[], groups: readonly IptablesRule[][], key: RuleKey): boolean {
  const positions = new Map(found.map((text, index) => [text, index]));
  let count = 0;
  for (const group of groups) {
    let last = -1;
    for (const rule of group) {
      const position = positions.get(key(rule));
      if (position === undefined || position <= last) return false;
      last = position;
    }
    count += group.length;
  }
  return count === found.length && positions.size === count;
}
