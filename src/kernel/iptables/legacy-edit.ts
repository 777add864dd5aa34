import { FlatnetError } from '../../errors/flatnet-error.ts';
import { encodeRule } from './encode-rule.ts';
import { EntryWriter } from './entry-writer.ts';
import { EXTENSION_HEADER, REPLACE_HEADER } from './legacy-layout.ts';
import { encodedAlone, footSize, headSize, LegacyTable, noLength, type ChainPlace } from './legacy-table.ts';
import type { IptablesChange, TableName } from './objects.ts';
import type { IptablesRule } from './rule.ts';

/** A run of entries that is the same in the old table and the new one, but for where it lies and jumps lead. */
export interface KeptRun {
  readonly from: number;
  readonly to: number;
  readonly movedTo: number;
  /** Numbers of its first entry in both tables, and how many entries it has. */
  readonly oldIndex: number;
  readonly newIndex: number;
  readonly entries: number;
}

export interface EditedTable {
  readonly table: LegacyTable;
  readonly kept: readonly KeptRun[];
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

/** The table with these changes made, all at once. Throws where a rule or chain is not there. */
export function editTable(table: LegacyTable, changes: readonly IptablesChange[]): EditedTable {
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

class TableEdit {
  readonly #old: LegacyTable;
  readonly #edits: ReadonlyMap<string, ChainEdit>;
  readonly #writer: EntryWriter;
  readonly #runs: { from: number; to: number; movedTo: number; writtenBefore: number }[] = [];
  readonly #places = new Map<string, ChainPlace>();
  /** Where rules of chains that are edited began, and begin now. */
  readonly #moved = new Map<number, number>();
  #copied = 0;

  constructor(old: LegacyTable, edits: ReadonlyMap<string, ChainEdit>) {
    this.#old = old;
    this.#edits = edits;
    let rules = 0;
    for (const edit of edits.values()) rules += (edit.rules ?? edit.prepended).length + 2;
    this.#writer = new EntryWriter(old.layout.family, old.size + rules * BYTES_OF_RULE);
  }

  make(): EditedTable {
    const old = this.#old;
    const edited = [...this.#edits]
      .flatMap(([chain, edit]) => {
        const place = old.places.get(chain);
        return place === undefined ? [] : [{ chain, edit, place }];
      })
      .sort((a, b) => a.place.rules - b.place.rules);
    for (const { chain, edit, place } of edited) this.#edit(chain, edit, place);
    const end = old.size - headSize(old.layout);
    this.#keep(end);
    for (const [chain, edit] of this.#edits) {
      if (!old.places.has(chain) && !edit.removed) this.#add(chain, edit);
    }
    this.#copied = end;
    this.#keep(old.size);
    for (const [chain, place] of old.places)
      if (!this.#edits.has(chain)) this.#places.set(chain, this.#place(place));
    const kept = this.#relocate();
    this.#link();
    const { bytes, size } = this.#writer;
    const entries = kept.reduce((sum, run) => sum + run.entries, this.#writer.written);
    return {
      table: new LegacyTable(old.name, old.layout, { bytes, size, entries, places: this.#places }),
      kept,
    };
  }

  #edit(chain: string, edit: ChainEdit, place: ChainPlace): void {
    const { layout } = this.#old;
    if (edit.removed) {
      this.#keep(place.rules - headSize(layout));
      this.#copied = place.policy + footSize(layout);
      return;
    }
    this.#keep(place.rules);
    const rules = this.#writer.size;
    this.#moved.set(place.rules, rules);
    for (const rule of [...edit.prepended].reverse()) encodeRule(this.#writer, rule);
    if (edit.rules === undefined) {
      for (const at of [...edit.deleted].sort((a, b) => a - b)) {
        this.#keep(at);
        this.#copied = at + this.#old.lengthAt(at);
      }
      this.#keep(place.policy);
    } else for (const rule of edit.rules) encodeRule(this.#writer, rule);
    for (const rule of edit.appended) encodeRule(this.#writer, rule);
    this.#copied = place.policy;
    const policy = this.#writer.size;
    this.#places.set(
      chain,
      place.hook === undefined ? { rules, policy } : { rules, policy, hook: place.hook },
    );
  }

  #add(chain: string, edit: ChainEdit): void {
    this.#writer.head(chain);
    const rules = this.#writer.size;
    for (const rule of [...edit.prepended].reverse()) encodeRule(this.#writer, rule);
    for (const rule of [...(edit.rules ?? []), ...edit.appended]) encodeRule(this.#writer, rule);
    const policy = this.#writer.size;
    this.#writer.foot();
    this.#places.set(chain, { rules, policy });
  }

  /** Takes over what was not yet, up to here. */
  #keep(to: number): void {
    const from = this.#copied;
    this.#copied = to;
    if (to <= from) return;
    const movedTo = this.#writer.size;
    this.#runs.push({ from, to, movedTo, writtenBefore: this.#writer.written });
    this.#writer.copy(this.#old.bytes, REPLACE_HEADER + from, REPLACE_HEADER + to);
  }

  #place(place: ChainPlace): ChainPlace {
    const rules = this.#newOffset(place.rules);
    const policy = this.#newOffset(place.policy);
    return place.hook === undefined ? { rules, policy } : { rules, policy, hook: place.hook };
  }

  #newOffset(old: number): number {
    let low = 0;
    let high = this.#runs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#runs[middle]?.from ?? 0) <= old) low = middle;
      else high = middle - 1;
    }
    const run = this.#runs[low];
    // A rule that leads to a chain that is removed: the change would leave it leading nowhere.
    if (run === undefined || old < run.from || old >= run.to)
      throw missing(this.#old.name, 'chain that a rule leads to');
    return run.movedTo + old - run.from;
  }

  /** Has the jumps of what was kept lead to where their chains are now, and counts entries. */
  #relocate(): KeptRun[] {
    const { bytes } = this.#writer;
    const { targetOffset, nextOffset } = this.#old.layout;
    const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
    const kept: KeptRun[] = [];
    let keptBefore = 0;
    let oldIndex = 0;
    let oldAt = 0;
    for (const { from, to, movedTo, writtenBefore } of this.#runs) {
      for (; oldAt < from; oldIndex += 1) oldAt += this.#old.lengthAt(oldAt);
      let entries = 0;
      const shift = movedTo - from;
      for (let at = movedTo; at < movedTo + to - from; entries += 1) {
        const start = REPLACE_HEADER + at;
        const target = start + (halves[(start + targetOffset) >> 1] ?? 0);
        const next = halves[(start + nextOffset) >> 1] ?? 0;
        if (bytes[target + 2] === 0) {
          const word = (target + EXTENSION_HEADER) >> 2;
          const verdict = words[word] ?? 0;
          if (verdict >= 0) {
            if (verdict === at - shift + next) words[word] = at + next;
            else words[word] = this.#moved.get(verdict) ?? this.#newOffset(verdict);
          }
        }
        if (next === 0) throw noLength(this.#old.name, at);
        at += next;
      }
      kept.push({ from, to, movedTo, oldIndex, newIndex: keptBefore + writtenBefore, entries });
      keptBefore += entries;
      oldIndex += entries;
      oldAt = to;
    }
    return kept;
  }

  /** Has the jumps of new rules lead to their chains. */
  #link(): void {
    for (const { at, chain } of this.#writer.jumps) {
      const place = this.#places.get(chain);
      if (place === undefined) throw missing(this.#old.name, `chain ${chain}`);
      this.#writer.bytes.writeInt32LE(place.rules, REPLACE_HEADER + at);
    }
  }
}

function missing(table: TableName, what: string): FlatnetError {
  return new FlatnetError(`change table ${table}: there is no ${what}`, { code: 'IPTABLES_NOT_FOUND' });
}
