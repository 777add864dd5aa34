import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { ObservedTable, ObservedTables, TableName } from './objects.ts';

/** A table of an iptables-save text: chains in their order with their rules, each without `-A CHAIN`. */
export type SavedTable = Map<string, string[]>;

/** Reads what iptables-save prints: by table, then by chain. Throws IPTABLES_TEXT for lines that are no such text. */
export function parseSave(text: string): Map<string, SavedTable> {
  const tables = new Map<string, SavedTable>();
  let table: SavedTable | undefined;
  for (const line of lines(text)) {
    const first = line[0];
    if (first === '#' || line === 'COMMIT') continue;
    if (first === '*') {
      table = new Map();
      tables.set(line.slice(1), table);
      continue;
    }
    if (table === undefined) throw unreadable(line);
    if (first === ':') {
      const end = line.indexOf(' ');
      table.set(end === -1 ? line.slice(1) : line.slice(1, end), []);
      continue;
    }
    const { chain, rule } = splitAppend(line);
    const rules = table.get(chain);
    if (rules === undefined) throw unreadable(line);
    rules.push(rule);
  }
  return tables;
}

/** One table of an iptables-save text. */
export function observedText(text: string, table: TableName): ObservedTable {
  return observed(parseSave(text).get(table));
}

/** All tables of an iptables-save text. */
export function observedTexts(text: string): ObservedTables {
  const tables = parseSave(text);
  return {
    mangle: observed(tables.get('mangle')),
    nat: observed(tables.get('nat')),
    filter: observed(tables.get('filter')),
  };
}

function observed(saved: SavedTable = new Map<string, string[]>()): ObservedTable {
  return { chains: () => saved.keys(), rules: (chain) => saved.get(chain) };
}

function* lines(text: string): Iterable<string> {
  for (let start = 0; start < text.length;) {
    const end = text.indexOf('\n', start);
    const line = end === -1 ? text.slice(start) : text.slice(start, end);
    if (line !== '') yield line;
    start = end === -1 ? text.length : end + 1;
  }
}

function splitAppend(line: string): { chain: string; rule: string } {
  if (!line.startsWith('-A ')) throw unreadable(line);
  const end = line.indexOf(' ', 3);
  if (end === -1) return { chain: line.slice(3), rule: '' };
  return { chain: line.slice(3, end), rule: singleSpaced(line.slice(end + 1)) };
}

/** nfacct prints two spaces before its name (iptables 1.8.9). */
function singleSpaced(rule: string): string {
  return rule.includes('  ') ? rule.replace(/(--nfacct-name) {2,}/, '$1 ') : rule;
}

/**
 * The words of a rule, without quotes and escapes. Throws IPTABLES_TEXT where a quote is left open.
 */
export function splitWords(rule: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quoted = false;
  for (let at = 0; at < rule.length; at += 1) {
    const char = rule[at] ?? '';
    if (quoted && char === '\\') {
      at += 1;
      word = (word ?? '') + (rule[at] ?? '');
    } else if (char === '"') {
      quoted = !quoted;
      word ??= '';
    } else if (char === ' ' && !quoted) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + char;
    }
  }
  if (quoted) throw unreadable(rule);
  if (word !== undefined) words.push(word);
  return words;
}

function unreadable(line: string): FlatnetError {
  return new FlatnetError(`"${line.slice(0, 200)}" is not what iptables-save prints`, {
    code: 'IPTABLES_TEXT',
  });
}
