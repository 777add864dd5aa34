import type { IpFamily } from '../../net/ip.ts';
import { formatRule } from './format-rule.ts';
import type { IptablesChange, TableName } from './objects.ts';

/** A line of a text for `iptables-restore --noflush`, without its table. */
export function describeChange(change: IptablesChange, family: IpFamily): string[] {
  const { chain } = change;
  switch (change.operation) {
    case 'write-chain':
      return [chainLine(chain), ...change.rules.map((rule) => `-A ${chain} ${formatRule(rule, family)}`)];
    case 'delete-chain':
      return [chainLine(chain), `-X ${chain}`];
    case 'prepend':
      return [`-I ${chain} 1 ${formatRule(change.rule, family)}`];
    case 'append':
      return [`-A ${chain} ${formatRule(change.rule, family)}`];
    case 'delete':
      return [`-D ${chain} ${formatRule(change.rule, family)}`];
    default:
      return [`-D ${chain} ${change.position}`];
  }
}

/**
 * A text for `iptables-restore --noflush` that makes these changes: one COMMIT for each run of changes of one table.
 * Within it chains are made and emptied, positions deleted from the highest down, rules written, single rules added
 * and deleted, chains removed.
 */
export function restoreText(changes: readonly IptablesChange[], family: IpFamily): string {
  const parts: string[] = [];
  for (let from = 0; from < changes.length;) {
    const table = changes[from]?.table ?? 'nat';
    let to = from + 1;
    while (changes[to]?.table === table) to += 1;
    for (const line of tableLines(table, changes.slice(from, to), family)) parts.push(line);
    from = to;
  }
  return parts.length === 0 ? '' : `${parts.join('\n')}\n`;
}

function tableLines(table: TableName, changes: readonly IptablesChange[], family: IpFamily): string[] {
  const chains: string[] = [];
  const positions: { chain: string; position: number }[] = [];
  const rules: string[] = [];
  const removals: string[] = [];
  for (const change of changes) {
    if (change.operation === 'delete-at') {
      positions.push(change);
      continue;
    }
    const lines = describeChange(change, family);
    if (change.operation === 'write-chain' || change.operation === 'delete-chain') {
      chains.push(lines.shift() ?? '');
    }
    if (change.operation === 'delete-chain') removals.push(...lines);
    else for (const line of lines) rules.push(line);
  }
  positions.sort((a, b) => b.position - a.position);
  const deletions = positions.map(({ chain, position }) => `-D ${chain} ${position}`);
  return [`*${table}`, ...chains, ...deletions, ...rules, ...removals, 'COMMIT'];
}

function chainLine(chain: string): string {
  return `:${chain} - [0:0]`;
}
