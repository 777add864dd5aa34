import type { IptablesChange } from './objects.ts';

/**
 * iptables-nft-restore (1.8) keeps the names of all chains of one COMMIT in a sorted list that it walks from its
 * beginning for each of its commands: 55,000 chains in one COMMIT take minutes, in portions seconds. More portions
 * mean more commits, each of which the kernel checks against the whole table.
 */
const CHAINS_OF_SECTION = 300;

/**
 * Cuts changes into portions that are each committed alone. Chains that are written follow those that they lead to, so
 * that every portion stands by itself; everything else stays together, after them.
 */
export function inSections(changes: readonly IptablesChange[], size = CHAINS_OF_SECTION): IptablesChange[][] {
  if (changes.length <= size) return [[...changes]];
  const sections: IptablesChange[][] = [];
  let current: IptablesChange[] = [];
  const chains = new Set<string>();
  let kind: 'chains' | 'rules' | undefined;
  for (const change of changes) {
    const own =
      change.operation === 'write-chain' || change.operation === 'delete-chain' ? 'chains' : 'rules';
    chains.add(change.chain);
    if (current.length > 0 && (own !== kind || (own === 'chains' && chains.size > size))) {
      sections.push(current);
      current = [];
      chains.clear();
      chains.add(change.chain);
    }
    kind = own;
    current.push(change);
  }
  return [...sections, current];
}
