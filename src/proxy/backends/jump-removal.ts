import type { IptablesChange, ObservedTable, TableName } from '../../kernel/iptables/objects.ts';

const BUILT_IN = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'] as const;

/**
 * Deletes the rules of the kernel's own chains that lead to chains that go: whatever else they say, as other versions
 * wrote them otherwise, and a chain that something leads to cannot be deleted. `observed` has rules as iptables-save
 * prints them.
 */
export function jumpRemoval(
  table: TableName,
  observed: ObservedTable,
  goes: (chain: string) => boolean,
): IptablesChange[] {
  return BUILT_IN.flatMap((chain) =>
    (observed.rules(chain) ?? []).flatMap((rule, index) => {
      const target = /(?:^| )-[jg] ([^ ]+)(?: |$)/.exec(withoutComment(rule))?.[1];
      if (target === undefined || !goes(target)) return [];
      return [{ operation: 'delete-at', table, chain, position: index + 1 } as const];
    }),
  );
}

function withoutComment(rule: string): string {
  return rule.replace(/ ?--comment (?:"(?:[^"\\]|\\.)*"|[^ ]+)/, '');
}

export function isBuiltIn(chain: string): boolean {
  return (BUILT_IN as readonly string[]).includes(chain);
}
