import type { NftChainChange } from '../../../kernel/nft/objects.ts';
import type { LookupRules } from './lookup-rule.ts';
import type { ProxySets } from './sets.ts';

/** Chains that the ruleset jumps to and that nft's language cannot fill: it has no map behind a map. */
export const FIXED_CHAINS = [
  'balance-services',
  'balance-nodeports',
  'learn-services',
  'learn-nodeports',
] as const;

export function buildFixedChains(sets: ProxySets, rules: LookupRules): NftChainChange[] {
  const contents = {
    'balance-services': rules.balance('service'),
    'balance-nodeports': rules.balance('nodeport'),
    'learn-services': rules.dispatchLearning('service'),
    'learn-nodeports': rules.dispatchLearning('nodeport'),
  };
  return FIXED_CHAINS.map((chain) => ({
    operation: 'write-chain',
    table: sets.table,
    chain,
    rules: [contents[chain]],
  }));
}
