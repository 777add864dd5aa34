import { FlatnetError } from '../../errors/flatnet-error.ts';
import { encodeRule } from './encode-rule.ts';
import { EntryWriter } from './entry-writer.ts';
import { EXTENSION_HEADER, REPLACE_HEADER } from './legacy-layout.ts';
import {
  encodedAlone,
  footSize,
  headSize,
  noLength,
  type ChainPlace,
  type LegacyTable,
} from './legacy-table.ts';
import type { IptablesChange, TableName } from './objects.ts';
import type { IptablesRule } from './rule.ts';

/** Entries that are the same in the old table and the new one: the numbers of the first in both, and how many. */
export interface KeptRun {
  readonly oldIndex: number;
  readonly newIndex: number;
  readonly entries: number;
}

/** What is to become of one chain. */
interface ChainEdit {
  /** All rules of the chain anew; undefined: those that it has, with what follows. */
  rules: readonly IptablesRule[] | undefined;
  removed: boolean;
  /** In the order in which they go to the front, one before the other. */
  readonly prepended: IptablesRule[];
  readonly appended: IptablesRule[];
  /** Offsets of rules that go. */
  readonly deleted: Set<number>;
}

const BYTES_OF_RULE = 300;

/**
 * Makes these changes in the table, all at once; tells what stays. Throws where a rule or chain is not there: the table
 * may be spoilt then. It is changed where it lies in memory, as it may be a hundred megabytes.
 */
export function editTable(table: LegacyTable, changes: readonly IptablesChange[]): KeptRun[] {
  return new TableEdit(table, collect(table, changes)).make();
}

function collect(table: LegacyTable, changes: readonly IptablesChange[]): Map<string, ChainEdit> {
  const edits = new Map<string, ChainEdit>();
  const positions = new Map<string, number[]>();
  for (const change of changes) {
    const edit = editOf(edits, change.chain);
    const place = table.places.get(change.chain);
    if (change.operation === 'write-chain') {
      edit.rules = change.rules;
      edit.removed = false;
      continue;
    }
    if (change.operation === 'delete-chain') {
      edit.removed = true;
      continue;
    }
    if (place === undefined && edit.rules === undefined) throw missing(table.name, `chain ${change.chain}`);
    if (change.operation === 'prepend') edit.prepended.push(change.rule);
    else if (change.operation === 'append') edit.appended.push(change.rule);
    else if (place !== undefined) {
      let known = positions.get(change.chain);
      if (known === undefined) positions.set(change.chain, (known = table.positions(place)));
      const at =
        change.operation === 'delete-at'
          ? known[change.position - 1]
          : find(table, known, edit.deleted, change.rule);
      if (at === undefined) throw missing(table.name, `such rule in chain ${change.chain}`);
      edit.deleted.add(at);
    }
  }
  return edits;
}

function editOf(edits: Map<string, ChainEdit>, chain: string): ChainEdit {
  let edit = edits.get(chain);
  if (edit === undefined) {
    edit = { rules: undefined, removed: false, prepended: [], appended: [], deleted: new Set() };
    edits.set(chain, edit);
  }
  return edit;
}

function find(
  table: LegacyTable,
  positions: readonly number[],
  taken: ReadonlySet<number>,
  rule: IptablesRule,
): number | undefined {
  const wanted = encodedAlone(rule, table.layout.family);
  return positions.find((at) => !taken.has(at) && table.isSame(at, wanted));
}

/** A part of the new table: entries of the old one, or new ones. */
interface Piece {
  readonly kept: boolean;
  readonly from: number;
  readonly to: number;
  readonly at: number;
  /** New entries before it. */
  readonly writtenBefore: number;
}

class TableEdit {
  readonly #table: LegacyTable;
  readonly #edits: ReadonlyMap<string, ChainEdit>;
  /** New entries; their offsets are those here until all have their place. */
  readonly #writer: EntryWriter;
  readonly #pieces: Piece[] = [];
  readonly #places = new Map<string, ChainPlace>();
  /** Where rules of chains that are edited began, and begin now. */
  readonly #moved = new Map<number, number>();
  #size = 0;
  #copied = 0;

  constructor(table: LegacyTable, edits: ReadonlyMap<string, ChainEdit>) {
    this.#table = table;
    this.#edits = edits;
    let rules = 0;
    for (const edit of edits.values()) rules += (edit.rules ?? edit.prepended).length + 2;
    this.#writer = new EntryWriter(table.layout.family, rules * BYTES_OF_RULE);
  }

  make(): KeptRun[] {
    const table = this.#table;
    for (const { chain, edit, place, at } of this.#inOrder()) {
      if (place !== undefined) this.#edit(chain, edit, place);
      else if (!edit.removed) {
        this.#keep(at);
        this.#add(chain, edit);
      }
    }
    this.#keep(table.size);
    const runs = this.#runs();
    this.#move();
    this.#replace();
    const kept = this.#relocate(runs);
    this.#link();
    table.entries = kept.reduce((sum, run) => sum + run.entries, this.#writer.written);
    table.moved();
    return kept;
  }

  /** Edits by where they concern the old table; new chains, by name, before the chain that they go in front of. */
  #inOrder(): { chain: string; edit: ChainEdit; place: ChainPlace | undefined; at: number }[] {
    const { places, layout } = this.#table;
    const positions = this.#positionsOfNew();
    return [...this.#edits]
      .map(([chain, edit]) => {
        const place = places.get(chain);
        const head = place?.hook === undefined ? headSize(layout) : 0;
        const at = place === undefined ? (positions.get(chain) ?? 0) : place.rules - head;
        return { chain, edit, place, at };
      })
      .sort((a, b) => a.at - b.at || rank(a.place) - rank(b.place) || (a.chain < b.chain ? -1 : 1));
  }

  /**
   * Where new chains go: chains of users lie in the order of their names. libiptc (iptables 1.8) takes longer with the
   * square of their number when they do not: minutes for what takes a second.
   */
  #positionsOfNew(): Map<string, number> {
    const { places, layout, size } = this.#table;
    const added = [...this.#edits.keys()].filter((chain) => !places.has(chain)).sort();
    if (added.length === 0) return new Map();
    const next = new Map<string, string>();
    for (const [name, { hook }] of places) {
      const before = hook === undefined ? lastBelow(added, name) : undefined;
      if (before !== undefined && !((next.get(before) ?? name) < name)) next.set(before, name);
    }
    const positions = new Map<string, number>();
    let at = size - headSize(layout);
    for (const chain of added.reverse()) {
      const place = places.get(next.get(chain) ?? '');
      if (place !== undefined) at = place.rules - headSize(layout);
      positions.set(chain, at);
    }
    return positions;
  }

  #edit(chain: string, edit: ChainEdit, place: ChainPlace): void {
    const { layout } = this.#table;
    if (edit.removed) {
      this.#keep(place.rules - headSize(layout));
      this.#copied = place.policy + footSize(layout);
      return;
    }
    this.#keep(place.rules);
    const rules = this.#size;
    this.#moved.set(place.rules, rules);
    this.#write([...edit.prepended].reverse());
    if (edit.rules === undefined) {
      for (const at of [...edit.deleted].sort((a, b) => a - b)) {
        this.#keep(at);
        this.#copied = at + this.#table.lengthAt(at);
      }
      this.#keep(place.policy);
    } else this.#write(edit.rules);
    this.#write(edit.appended);
    this.#copied = place.policy;
    const policy = this.#size;
    this.#places.set(
      chain,
      place.hook === undefined ? { rules, policy } : { rules, policy, hook: place.hook },
    );
  }

  #add(chain: string, edit: ChainEdit): void {
    this.#written(() => this.#writer.head(chain));
    const rules = this.#size;
    this.#write([...edit.prepended].reverse());
    this.#write(edit.rules ?? []);
    this.#write(edit.appended);
    const policy = this.#size;
    this.#written(() => this.#writer.foot());
    this.#places.set(chain, { rules, policy });
  }

  #write(rules: readonly IptablesRule[]): void {
    if (rules.length === 0) return;
    this.#written(() => {
      for (const rule of rules) encodeRule(this.#writer, rule);
    });
  }

  #written(write: () => void): void {
    const from = this.#writer.size;
    const writtenBefore = this.#writer.written;
    write();
    const to = this.#writer.size;
    this.#pieces.push({ kept: false, from, to, at: this.#size, writtenBefore });
    this.#size += to - from;
  }

  /** Takes over what was not yet, up to here. */
  #keep(to: number): void {
    const from = this.#copied;
    this.#copied = to;
    if (to <= from) return;
    const writtenBefore = this.#writer.written;
    this.#pieces.push({ kept: true, from, to, at: this.#size, writtenBefore });
    this.#size += to - from;
  }

  /** What is kept, with the number that its first entry has in the old table. */
  #runs(): { piece: Piece; oldIndex: number; entries: number }[] {
    const halves = halvesOf(this.#table.bytes);
    const { nextOffset } = this.#table.layout;
    const count = (from: number, to: number): number => {
      let entries = 0;
      for (let at = from; at < to; entries += 1) {
        const length = halves[(REPLACE_HEADER + at + nextOffset) >> 1] ?? 0;
        if (length === 0) throw noLength(this.#table.name, at);
        at += length;
      }
      return entries;
    };
    let oldIndex = 0;
    let oldAt = 0;
    const runs: { piece: Piece; oldIndex: number; entries: number }[] = [];
    for (const piece of this.#pieces) {
      if (!piece.kept) continue;
      oldIndex += count(oldAt, piece.from);
      const entries = count(piece.from, piece.to);
      runs.push({ piece, oldIndex, entries });
      oldIndex += entries;
      oldAt = piece.to;
    }
    return runs;
  }

  /**
   * Brings all pieces to their places, in the same memory if it is enough. What goes to the front moves first, from the
   * front on, then what goes back, from the back on: so nothing is written over before it has moved.
   */
  #move(): void {
    const table = this.#table;
    const needed = REPLACE_HEADER + this.#size;
    const old = table.bytes;
    const inPlace = needed <= old.length;
    if (!inPlace) table.bytes = Buffer.alloc(withReserve(needed));
    const kept = this.#pieces.filter((piece) => piece.kept);
    const forward = kept.filter(({ from, at }) => at < from || !inPlace);
    const backward = kept.filter(({ from, at }) => at > from && inPlace).reverse();
    for (const { from, to, at } of [...forward, ...backward]) {
      old.copy(table.bytes, REPLACE_HEADER + at, REPLACE_HEADER + from, REPLACE_HEADER + to);
    }
    for (const { kept: old, from, to, at } of this.#pieces) {
      if (old) continue;
      const start = REPLACE_HEADER + at;
      this.#writer.bytes.copy(table.bytes, start, REPLACE_HEADER + from, REPLACE_HEADER + to);
    }
    table.size = this.#size;
  }

  /** Gives every chain its new place. */
  #replace(): void {
    const { places } = this.#table;
    const kept = this.#pieces.filter((piece) => piece.kept);
    for (const [chain, place] of places) {
      if (this.#edits.has(chain)) continue;
      place.rules = this.#newOffset(kept, place.rules);
      place.policy = this.#newOffset(kept, place.policy);
    }
    for (const [chain, edit] of this.#edits) if (edit.removed) places.delete(chain);
    for (const [chain, place] of this.#places) places.set(chain, place);
  }

  #newOffset(kept: readonly Piece[], old: number): number {
    let low = 0;
    let high = kept.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((kept[middle]?.from ?? 0) <= old) low = middle;
      else high = middle - 1;
    }
    const run = kept[low];
    // A rule that leads to a chain that is removed: the change would leave it leading nowhere.
    if (run === undefined || old < run.from || old >= run.to)
      throw missing(this.#table.name, 'chain that a rule leads to');
    return run.at + old - run.from;
  }

  /** Has the jumps of what was kept lead to where their chains are now. */
  #relocate(runs: readonly { piece: Piece; oldIndex: number; entries: number }[]): KeptRun[] {
    const { bytes, layout } = this.#table;
    const { targetOffset, nextOffset } = layout;
    const halves = halvesOf(bytes);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
    const pieces = runs.map(({ piece }) => piece);
    const kept: KeptRun[] = [];
    let keptBefore = 0;
    for (const { piece, oldIndex, entries } of runs) {
      const shift = piece.at - piece.from;
      for (let at = piece.at; at < piece.at + piece.to - piece.from;) {
        const start = REPLACE_HEADER + at;
        const target = start + (halves[(start + targetOffset) >> 1] ?? 0);
        const next = halves[(start + nextOffset) >> 1] ?? 0;
        if (bytes[target + 2] === 0) {
          const word = (target + EXTENSION_HEADER) >> 2;
          const verdict = words[word] ?? 0;
          if (verdict >= 0) {
            // On to the next entry, which is no jump.
            if (verdict === at - shift + next) words[word] = at + next;
            else words[word] = this.#moved.get(verdict) ?? this.#newOffset(pieces, verdict);
          }
        }
        at += next;
      }
      kept.push({ oldIndex, newIndex: keptBefore + piece.writtenBefore, entries });
      keptBefore += entries;
    }
    return kept;
  }

  /** Has new rules lead on to the next entry, or to their chains. */
  #link(): void {
    const { bytes, places, name, layout } = this.#table;
    let next = 0;
    for (const { kept, from, to, at } of this.#pieces) {
      if (kept) continue;
      const shift = at - from;
      for (let entry = at; entry < at + to - from;) {
        const start = REPLACE_HEADER + entry;
        const length = bytes.readUInt16LE(start + layout.nextOffset);
        const verdict = start + bytes.readUInt16LE(start + layout.targetOffset) + EXTENSION_HEADER;
        const isStandard = bytes[verdict - EXTENSION_HEADER + 2] === 0;
        if (isStandard && bytes.readInt32LE(verdict) === entry - shift + length) {
          bytes.writeInt32LE(entry + length, verdict);
        }
        entry += length;
      }
      for (let jump = this.#writer.jumps[next]; jump !== undefined && jump.at < to;) {
        const place = places.get(jump.chain);
        if (place === undefined) throw missing(name, `chain ${jump.chain}`);
        bytes.writeInt32LE(place.rules, REPLACE_HEADER + jump.at + shift);
        next += 1;
        jump = this.#writer.jumps[next];
      }
    }
  }
}

const rank = (place: ChainPlace | undefined): number => (place === undefined ? 0 : 1);

/** The last of these names, which are in order, that is below `name`. */
function lastBelow(names: readonly string[], name: string): string | undefined {
  let low = 0;
  let high = names.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((names[middle] ?? '') < name) low = middle + 1;
    else high = middle;
  }
  return names[low - 1];
}

/** Memory for a table of this size and some changes of it. */
export function withReserve(size: number): number {
  return Math.ceil(size * 1.02) + 65_536;
}

function halvesOf(bytes: Buffer): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
}

function missing(table: TableName, what: string): FlatnetError {
  return new FlatnetError(`change table ${table}: there is no ${what}`, { code: 'IPTABLES_NOT_FOUND' });
}
