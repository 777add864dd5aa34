import type { IptablesChange, ObservedTables, TableName } from '../../../kernel/iptables/objects.ts';
import { isBuiltIn, jumpRemoval } from '../jump-removal.ts';
import {
  CANARY,
  EXTERNAL_SERVICES,
  FORWARD,
  isServiceChain,
  MARK_MASQ,
  MARK_OFF_CLUSTER,
  NODE_PORTS,
  POSTROUTING,
  PROXY_FIREWALL,
  SERVICES,
} from './chain-names.ts';

/** Chains that the mode makes, each before those that it leads to. kubelet's KUBE-FIREWALL is not among them. */
const OWN: readonly { readonly table: TableName; readonly chain: string }[] = [
  ...[SERVICES, NODE_PORTS, POSTROUTING, MARK_OFF_CLUSTER, MARK_MASQ, CANARY].map(
    (chain) => ({ table: 'nat', chain }) as const,
  ),
  ...[SERVICES, EXTERNAL_SERVICES, FORWARD, NODE_PORTS, PROXY_FIREWALL, CANARY].map(
    (chain) => ({ table: 'filter', chain }) as const,
  ),
  { table: 'mangle', chain: CANARY },
];

/**
 * Takes the mode out of iptables: jumps first, so that no packet finds half of it. Connections that are established go
 * on, as their translation is connection tracking's. Chains that the ipvs mode has under the same names stay if it
 * uses them: it is told by its ipsets. `observed` has rules as iptables-save prints them.
 */
export function removalOf(observed: ObservedTables): IptablesChange[] {
  const kept = keptChains(observed);
  const changes: IptablesChange[] = [];
  for (const table of ['nat', 'filter', 'mangle'] as const) {
    const goes = new Set(
      OWN.filter((own) => own.table === table && !kept.has(`${table} ${own.chain}`)).map(
        ({ chain }) => chain,
      ),
    );
    changes.push(...jumpRemoval(table, observed[table], (chain) => goes.has(chain)));
    for (const { chain, table: own } of OWN) {
      if (own !== table) continue;
      const rules = observed[table].rules(chain);
      if (rules === undefined) continue;
      if (kept.has(`${table} ${chain}`)) changes.push(...ownRules(table, chain, rules));
      else changes.push({ operation: 'delete-chain', table, chain });
    }
    if (table !== 'nat') continue;
    const chains = [...observed.nat.chains()].filter(isServiceChain);
    changes.push(...chains.map((chain) => ({ operation: 'delete-chain', table, chain }) as const));
  }
  return changes;
}

/** Rules of this mode in a chain that the ipvs mode uses too. */
function ownRules(table: TableName, chain: string, rules: readonly string[]): IptablesChange[] {
  return rules.flatMap((rule, index) =>
    /-j (?:KUBE-(?:SVC|SVL|EXT|FW|SEP)-|KUBE-NODEPORTS)/.test(rule)
      ? [{ operation: 'delete-at', table, chain, position: index + 1 } as const]
      : [],
  );
}

/** Chains with rules that look at ipsets, and those that such chains, or others' rules, lead to. */
function keptChains(observed: ObservedTables): Set<string> {
  const kept = new Set<string>();
  for (const table of ['nat', 'filter', 'mangle'] as const) {
    const own = new Set(OWN.filter((entry) => entry.table === table).map(({ chain }) => chain));
    const all = [...observed[table].chains()];
    const stays = (chain: string): boolean =>
      kept.has(`${table} ${chain}`) || !(own.has(chain) || isServiceChain(chain) || isBuiltIn(chain));
    for (const chain of all) {
      if (own.has(chain) && observed[table].rules(chain)?.some((rule) => rule.includes('--match-set')))
        kept.add(`${table} ${chain}`);
    }
    // Of the same rules in both modes; in the ipvs mode no chain with an ipset leads there.
    if (table === 'filter' && kept.size > 0) kept.add(`filter ${FORWARD}`);
    // Chains that are kept lead to others: once round for each step of the way.
    for (let size = -1; size !== kept.size;) {
      size = kept.size;
      for (const chain of all.filter(stays)) {
        for (const rule of observed[table].rules(chain) ?? []) {
          const target = /-[jg] (KUBE-[A-Z-]+)/.exec(rule)?.[1];
          if (target !== undefined && own.has(target)) kept.add(`${table} ${target}`);
        }
      }
    }
  }
  return kept;
}
