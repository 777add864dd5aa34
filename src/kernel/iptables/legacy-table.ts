import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { IpFamily } from '../../net/ip.ts';
import { encodeRule } from './encode-rule.ts';
import { EntryWriter } from './entry-writer.ts';
import {
  entryLayout,
  ERROR_TARGET,
  EXTENSION_HEADER,
  HOOK_CHAINS,
  REPLACE_HEADER,
  STANDARD_TARGET,
  type EntryLayout,
} from './legacy-layout.ts';
import type { ObservedTable, TableName } from './objects.ts';
import type { IptablesRule } from './rule.ts';

/** Where a chain lies in a table: its first rule, and the entry after its last, which has its policy. */
export interface ChainPlace {
  rules: number;
  policy: number;
  /** Number of its hook, for chains of the kernel. */
  readonly hook?: number;
}

/** What the kernel tells of a table without its entries (struct ipt_getinfo). */
export interface TableInfo {
  readonly validHooks: number;
  readonly hookEntries: readonly number[];
  readonly underflows: readonly number[];
  readonly entries: number;
  readonly size: number;
}

/**
 * A table of ip_tables as the kernel takes and gives it: entries one behind the other, in which jumps are offsets.
 * Offsets here are counted from the first entry, which lies behind the space for a header.
 */
export class LegacyTable implements ObservedTable {
  readonly name: TableName;
  readonly layout: EntryLayout;
  /** With space for a header in front, and some to grow behind. */
  bytes: Buffer;
  /** Bytes of all entries. */
  size: number;
  /** How many entries. */
  entries: number;
  readonly places: Map<string, ChainPlace>;
  #names: Map<number, string> | undefined;

  constructor(
    name: TableName,
    layout: EntryLayout,
    content: { bytes: Buffer; size: number; entries: number; places: Map<string, ChainPlace> },
  ) {
    this.name = name;
    this.layout = layout;
    this.bytes = content.bytes;
    this.size = content.size;
    this.entries = content.entries;
    this.places = content.places;
  }

  /** What the kernel gave; `bytes` has space for a header before it. Packets that were counted are forgotten. */
  static parse(name: TableName, family: IpFamily, bytes: Buffer, info: TableInfo): LegacyTable {
    const layout = entryLayout(family);
    const places = new Map<string, ChainPlace>();
    for (const [hook, chain] of HOOK_CHAINS.entries()) {
      if ((info.validHooks & (1 << hook)) === 0) continue;
      places.set(chain, { rules: info.hookEntries[hook] ?? 0, policy: info.underflows[hook] ?? 0, hook });
    }
    const last = info.size - layout.size - ERROR_TARGET;
    let open: ChainPlace | undefined;
    let previous = 0;
    for (let at = 0; at < info.size;) {
      const start = REPLACE_HEADER + at;
      bytes.fill(0, start + layout.cache, start + layout.cache + 4);
      bytes.fill(0, start + layout.comefrom, start + layout.size);
      const target = start + bytes.readUInt16LE(start + layout.targetOffset);
      const next = bytes.readUInt16LE(start + layout.nextOffset);
      // "ERROR": the head of a chain, or the end of the table.
      if (bytes[target + 2] === 0x45 && bytes.toString('latin1', target + 2, target + 8) === 'ERROR\0') {
        if (open !== undefined) open.policy = previous;
        if (at < last) {
          open = { rules: at + next, policy: 0 };
          places.set(cString(bytes, target + EXTENSION_HEADER), open);
        }
      }
      if (next === 0) throw noLength(name, at);
      previous = at;
      at += next;
    }
    return new LegacyTable(name, layout, { bytes, size: info.size, entries: info.entries, places });
  }

  /** `places` are others now. */
  moved(): void {
    this.#names = undefined;
  }

  chains(): Iterable<string> {
    return this.places.keys();
  }

  rules(chain: string): readonly string[] | undefined {
    const place = this.places.get(chain);
    if (place === undefined) return undefined;
    const keys: string[] = [];
    for (let at = place.rules; at < place.policy; at += this.lengthAt(at)) keys.push(this.#keyAt(at));
    return keys;
  }

  /** Offsets of a chain's rules. */
  positions(place: ChainPlace): number[] {
    const positions: number[] = [];
    for (let at = place.rules; at < place.policy; at += this.lengthAt(at)) positions.push(at);
    return positions;
  }

  lengthAt(at: number): number {
    const length = this.bytes.readUInt16LE(REPLACE_HEADER + at + this.layout.nextOffset);
    if (length === 0) throw noLength(this.name, at);
    return length;
  }

  /** Whether the entry at `at` is what `wanted` has at its beginning, jumps compared by where they lead. */
  isSame(at: number, wanted: EntryWriter): boolean {
    const length = this.lengthAt(at);
    if (length !== wanted.size) return false;
    const start = REPLACE_HEADER + at;
    const target = this.bytes.readUInt16LE(start + this.layout.targetOffset);
    const end = this.bytes[start + target + 2] === 0 ? target + EXTENSION_HEADER : length;
    const { bytes } = wanted;
    if (this.bytes.compare(bytes, REPLACE_HEADER, REPLACE_HEADER + end, start, start + end) !== 0)
      return false;
    if (end === length) return true;
    const verdict = this.bytes.readInt32LE(start + end);
    const [jump] = wanted.jumps;
    if (jump !== undefined) return verdict === this.places.get(jump.chain)?.rules;
    const other = bytes.readInt32LE(REPLACE_HEADER + end);
    return other >= 0 ? verdict === at + length : verdict === other;
  }

  #keyAt(at: number): string {
    const start = REPLACE_HEADER + at;
    const length = this.lengthAt(at);
    const target = start + this.bytes.readUInt16LE(start + this.layout.targetOffset);
    if (this.bytes[target + 2] !== 0) return this.bytes.toString('latin1', start, start + length);
    const verdict = this.bytes.readInt32LE(target + EXTENSION_HEADER);
    const leadsTo = verdict < 0 ? verdict : verdict === at + length ? '' : this.#chainAt(verdict);
    return `${this.bytes.toString('latin1', start, target + EXTENSION_HEADER)}>${leadsTo}`;
  }

  #chainAt(rules: number): string {
    this.#names ??= new Map([...this.places].map(([name, place]) => [place.rules, name]));
    return this.#names.get(rules) ?? '';
  }
}

const scratch = { 4: new EntryWriter(4, 4096), 6: new EntryWriter(6, 4096) };

/** The rule alone, as an entry. What is returned is valid until the next call. */
export function encodedAlone(rule: IptablesRule, family: IpFamily): EntryWriter {
  const writer = scratch[family];
  writer.clear();
  encodeRule(writer, rule);
  return writer;
}

/** The key that the rule has in a `LegacyTable`. */
export function legacyKey(rule: IptablesRule, family: IpFamily): string {
  const { bytes, size, jumps, layout } = encodedAlone(rule, family);
  const target = REPLACE_HEADER + bytes.readUInt16LE(REPLACE_HEADER + layout.targetOffset);
  if (bytes[target + 2] !== 0) return bytes.toString('latin1', REPLACE_HEADER, REPLACE_HEADER + size);
  const verdict = bytes.readInt32LE(target + EXTENSION_HEADER);
  const leadsTo = jumps[0]?.chain ?? (verdict < 0 ? verdict : '');
  return `${bytes.toString('latin1', REPLACE_HEADER, target + EXTENSION_HEADER)}>${leadsTo}`;
}

/** Bytes of the head of a chain of users. */
export function headSize(layout: EntryLayout): number {
  return layout.size + ERROR_TARGET;
}

/** Bytes of the entry that ends a chain. */
export function footSize(layout: EntryLayout): number {
  return layout.size + STANDARD_TARGET;
}

function cString(bytes: Buffer, at: number): string {
  return bytes.toString('latin1', at, bytes.indexOf(0, at));
}

/** Entries that lead nowhere would be walked for ever. */
export function noLength(table: TableName, at: number): FlatnetError {
  return new FlatnetError(`the entry at ${at} of table ${table} has no length`, { code: 'IPTABLES_DATA' });
}
