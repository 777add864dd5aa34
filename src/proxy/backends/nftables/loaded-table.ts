import type { NftKernel } from '../../../kernel/nft/objects.ts';
import { balancerElement, isStandard, parseBalancerChain } from './balancer.ts';
import type { LookupRules } from './lookup-rule.ts';
import type { ProxySets } from './sets.ts';
import type { TablePlan } from './table-plan.ts';

/**
 * Whether a table that is there has the rules of the plan: the marker tells which, the number of rules in each chain
 * that nobody flushed or added any, the verdict maps that they are led to.
 */
export function isLoaded(
  nft: NftKernel,
  plan: TablePlan,
  sets: ProxySets,
  rules: LookupRules,
  chains: readonly string[],
): boolean {
  if (!chains.includes(plan.marker)) return false;
  const counts = new Map(plan.chains.map(({ chain, rules }) => [chain, rules.length]));
  const verdicts = new Map([...plan.verdicts].map(([set, elements]) => [set, [...elements]]));
  for (const name of chains) {
    const found = parseBalancerChain(name);
    if (found === undefined || isStandard(found.way, found.balancer)) continue;
    counts.set(name, rules.balance(found.way, found.balancer).length);
    const lead = balancerElement(found.way, found.balancer);
    if (lead !== undefined) verdicts.get(sets[lead.by][found.way])?.push(lead.element);
  }
  const present = nft.ruleCounts(sets.table);
  if ([...counts].some(([chain, count]) => (present.get(chain) ?? 0) !== count)) return false;
  return [...verdicts, [sets.draws, plan.draws] as const].every(([set, elements]) => {
    const held = new Map(nft.elements(set).map(({ key, value }) => [key, value]));
    return held.size === elements.length && elements.every(({ key, value }) => held.get(key) === value);
  });
}
