import { formatRule } from '../../../kernel/iptables/format-rule.ts';
import type { IptablesChange, IptablesKernel } from '../../../kernel/iptables/objects.ts';
import { parseSave, splitWords, type SavedTable } from '../../../kernel/iptables/save-text.ts';
import type { IpFamily } from '../../../net/ip.ts';
import { FILTER_CHAINS, NAT_CHAINS } from './chains.ts';
import type { Jump } from './fixed-rules.ts';

const TABLES = ['nat', 'filter'] as const;
type Table = (typeof TABLES)[number];
const OWN_CHAINS: Readonly<Record<Table, readonly string[]>> = { nat: NAT_CHAINS, filter: FILTER_CHAINS };

/** Both tables as iptables-save prints them, by chain. */
export type SavedTables = Readonly<Record<Table, SavedTable>>;

export async function savedTables(iptables: IptablesKernel): Promise<SavedTables> {
  const read = async (table: Table): Promise<SavedTable> =>
    parseSave(await iptables.save(table)).get(table) ?? new Map<string, string[]>();
  return { nat: await read('nat'), filter: await read('filter') };
}

/** Chains and jumps that are missing, and jumps to own chains that other settings had. */
export function fixedChanges(saved: SavedTables, jumps: readonly Jump[], family: IpFamily): IptablesChange[] {
  const changes: IptablesChange[] = [];
  for (const table of TABLES) {
    for (const chain of OWN_CHAINS[table]) {
      if (!saved[table].has(chain)) changes.push({ operation: 'write-chain', table, chain, rules: [] });
    }
    const missing = new Map<string, Jump>(
      jumps
        .filter((jump) => jump.table === table)
        .map((jump) => [`${jump.chain} ${formatRule(jump.rule, family)}`, jump] as const),
    );
    for (const { chain, position, rule } of jumpsIn(saved[table], OWN_CHAINS[table])) {
      // The same jump twice is one too many.
      if (missing.delete(`${chain} ${rule}`)) continue;
      changes.push({ operation: 'delete-at', table, chain, position });
    }
    for (const { chain, place, rule } of missing.values()) {
      changes.push({ operation: place, table, chain, rule });
    }
  }
  return changes;
}

/** Everything of this mode, whichever settings it was written with. */
export function removal(saved: SavedTables): IptablesChange[] {
  return TABLES.flatMap((table) => {
    const jumps = jumpsIn(saved[table], OWN_CHAINS[table]);
    const chains = OWN_CHAINS[table].filter((chain) => saved[table].has(chain));
    return [
      ...jumps.map(({ chain, position }) => ({ operation: 'delete-at', table, chain, position }) as const),
      ...chains.map((chain) => ({ operation: 'delete-chain', table, chain }) as const),
    ];
  });
}

interface FoundJump {
  readonly chain: string;
  /** From 1. */
  readonly position: number;
  readonly rule: string;
}

function jumpsIn(table: SavedTable, to: readonly string[]): FoundJump[] {
  const found: FoundJump[] = [];
  for (const [chain, rules] of table) {
    if (to.includes(chain)) continue;
    for (const [index, rule] of rules.entries()) {
      // Cheap first: other tools may have tens of thousands of rules.
      if (!to.some((name) => rule.includes(name))) continue;
      const words = splitWords(rule);
      const target = words[words.lastIndexOf('-j') + 1];
      if (target !== undefined && to.includes(target)) found.push({ chain, position: index + 1, rule });
    }
  }
  return found;
}
