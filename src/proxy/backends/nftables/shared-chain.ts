import { indexField } from '../../../kernel/nft/field.ts';
import type { NftExpression } from '../../../kernel/nft/expression.ts';
import type { NftChainChange, NftChange, NftElement, NftSet } from '../../../kernel/nft/objects.ts';
import type { EntryKind, LookupRules } from './lookup-rule.ts';
import type { ProxySets } from './sets.ts';

/** A chain that all Services share that need the same: its name says what is in it. */
export type SharedChain =
  /** Balances over so many endpoints; those for node ports also mark for masquerade. */
  | { readonly kind: EntryKind; readonly endpoints: number; readonly affinity: boolean }
  /** Remembers for so long which endpoint a client was given. */
  | { readonly kind: 'learn'; readonly timeoutSeconds: number };

const BALANCER_NAMES: Readonly<Record<EntryKind, string>> = { service: 'lb', nodeport: 'nodeport' };

/** More endpoints than this a service port cannot have: the number shares 32 bits with flags. */
export const MAX_ENDPOINTS = 0xffff;
const AFFINITY_FLAG = 0x10000;

export function sharedChainName(chain: SharedChain): string {
  if (chain.kind === 'learn') return `learn-${chain.timeoutSeconds}s`;
  return `${BALANCER_NAMES[chain.kind]}-${chain.endpoints}${chain.affinity ? '-affinity' : ''}`;
}

export function parseSharedChain(name: string): SharedChain | undefined {
  const learn = /^learn-(\d+)s$/.exec(name);
  if (learn !== null) return { kind: 'learn', timeoutSeconds: Number(learn[1]) };
  const balance = /^(lb|nodeport)-(\d+)(-affinity)?$/.exec(name);
  if (balance === null) return undefined;
  const kind = balance[1] === 'lb' ? 'service' : 'nodeport';
  return { kind, endpoints: Number(balance[2]), affinity: balance[3] !== undefined };
}

/** What stands in the data of a Service's element and leads to the chain. */
export function sharedChainSelector(chain: SharedChain): string {
  if (chain.kind === 'learn') return indexField(chain.timeoutSeconds);
  return indexField(chain.endpoints + (chain.affinity ? AFFINITY_FLAG : 0));
}

/**
 * Makes chains and the elements that lead to them, or writes their rules anew. Chains that others go on to come
 * first: the kernel takes no reference to a chain that is not there.
 */
export function addSharedChains(
  sets: ProxySets,
  rules: LookupRules,
  masqueradeMark: number,
  chains: readonly SharedChain[],
): NftChange[] {
  const behind = chains.flatMap((chain) => withChainsBehind(chain));
  const unique = new Map(behind.map((chain) => [sharedChainName(chain), chain]));
  return [...unique.values()].flatMap((chain): NftChange[] => [
    {
      operation: 'write-chain',
      table: sets.table,
      chain: sharedChainName(chain),
      rules: rulesOf(rules, chain, masqueradeMark),
    } satisfies NftChainChange,
    {
      operation: 'add',
      set: dispatchSet(sets, chain.kind),
      elements: [{ key: sharedChainSelector(chain), value: `goto ${sharedChainName(chain)}` }],
    },
  ]);
}

/** How many rules a shared chain has. */
export function countSharedRules(chain: SharedChain): number {
  if (chain.kind === 'learn') return 1;
  const mark = chain.kind === 'nodeport' ? 1 : 0;
  return mark + (chain.affinity || chain.endpoints > 1 ? 2 : 1);
}

/** The chain that an element of a dispatch set leads to; undefined when it does not belong there. */
export function linkedChain(kind: SharedChain['kind'], { key, value = '' }: NftElement): string | undefined {
  const name = value.replace(/^goto /, '');
  const chain = parseSharedChain(name);
  if (chain?.kind !== kind || name === value || sharedChainSelector(chain) !== key) return undefined;
  return name;
}

/** The chains that `chain` goes on to, and then itself. */
function withChainsBehind(chain: SharedChain): SharedChain[] {
  return chain.kind !== 'learn' && chain.affinity ? [{ ...chain, affinity: false }, chain] : [chain];
}

/** The verdict map through which a chain is found. */
export function dispatchSet(sets: ProxySets, kind: SharedChain['kind']): NftSet {
  return { service: sets.balancers, nodeport: sets.nodePortBalancers, learn: sets.learners }[kind];
}

function rulesOf(rules: LookupRules, chain: SharedChain, masqueradeMark: number): NftExpression[][] {
  if (chain.kind === 'learn') return [rules.learn(chain.timeoutSeconds)];
  const mark: NftExpression[][] =
    chain.kind === 'nodeport' ? [[{ statement: 'set-mark-bits', bits: masqueradeMark }]] : [];
  if (chain.affinity) {
    const next = sharedChainName({ ...chain, affinity: false });
    return [...mark, rules.dnatKnownClient(), [{ statement: 'goto', chain: next }]];
  }
  return [
    ...mark,
    rules.dnat(chain.kind, chain.endpoints),
    // A packet on its way here while the Service lost an endpoint may have drawn the one that went: the first is
    // there as long as there is any.
    ...(chain.endpoints > 1 ? [rules.dnat(chain.kind, 1)] : []),
  ];
}
