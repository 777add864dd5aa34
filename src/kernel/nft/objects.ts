import type { NftRule } from './expression.ts';
import type { PackedElements } from './packed-elements.ts';

/** Address family of a table. */
export type NftFamily = 'ip' | 'ip6' | 'inet';

export interface NftTable {
  readonly family: NftFamily;
  readonly name: string;
}

/** What the elements of a set carry beside their key: nothing, bytes, or a verdict. */
export type NftSetKind = 'set' | 'map' | 'vmap';

export interface NftSet {
  readonly table: NftTable;
  readonly name: string;
  readonly kind: NftSetKind;
}

/** Types of fields by the names that nft has for them; it lists elements accordingly. */
export type NftFieldType = 'ipv4_addr' | 'ipv6_addr' | 'inet_proto' | 'inet_service' | 'mark';

export interface NftSetType {
  readonly key: readonly NftFieldType[];
  /** Of a map. */
  readonly data?: readonly NftFieldType[];
  /** Filled by the packet path, at most to this size; its elements end after a time. */
  readonly dynamicSize?: number;
}

/**
 * One element, as compact as it can be: there may be a hundred thousand of them. Bytes are strings of one character
 * per byte (latin1), which compare and hash without being decoded; `field.ts` makes and reads them.
 */
export interface NftElement {
  /** The key's fields in registers: each padded to a multiple of four bytes. */
  readonly key: string;
  /** In a map the data's bytes; in a vmap the verdict as nft writes it: `drop`, `accept`, `goto lb-3`, `jump x`. */
  readonly value?: string;
  /** Lifetime, for elements with an own one. */
  readonly timeoutMs?: number;
  /** What is left of the lifetime. */
  readonly expiresMs?: number;
}

/** `destroy` is a deletion that does not mind elements that are gone already (kernel 6.3 and later). */
export type NftOperation = 'add' | 'delete' | 'destroy';

export type NftElementList = readonly NftElement[] | PackedElements;

export interface NftElementsChange {
  readonly operation: NftOperation;
  readonly set: NftSet;
  readonly elements: NftElementList;
}

interface NftAddTableChange {
  readonly operation: 'add-table';
  readonly table: NftTable;
}

/** Takes a table away with all that is in it. */
interface NftDeleteTableChange {
  readonly operation: 'delete-table';
  readonly table: NftTable;
}

export type NftTableChange = NftAddTableChange | NftDeleteTableChange;

export interface NftSetChange {
  readonly operation: 'add-set';
  readonly set: NftSet;
  readonly type: NftSetType;
}

/** Where a base chain is called; packets that its rules leave alone go on. */
export interface NftHook {
  readonly type: 'filter' | 'nat';
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  readonly priority: number;
}

/** Writes the rules of a chain, which is made if it is not there: all of them, the old ones go. */
export interface NftChainChange {
  readonly operation: 'write-chain';
  readonly table: NftTable;
  readonly chain: string;
  readonly rules: readonly NftRule[];
  /** Of a base chain. */
  readonly hook?: NftHook;
}

export type NftChange = NftElementsChange | NftTableChange | NftSetChange | NftChainChange;

export const isElementsChange = (change: NftChange): change is NftElementsChange => 'elements' in change;

/**
 * What somebody else changed: elements alone, or (also) tables, chains, rules or sets; `lost`: the kernel dropped
 * notifications, so that nobody knows.
 */
export type NftForeignChange = 'elements' | 'structure' | 'lost';

/** The part of nftables that programs tables; a real one (NftSocket) and a fake one (FakeNft). */
export interface NftKernel {
  /**
   * Applies all changes in their order as one transaction: all or nothing. Throws FlatnetError whose message names
   * the set and elements that the kernel refused. False: there was nothing to do, and no transaction.
   */
  commit(changes: readonly NftChange[]): boolean;
  /**
   * As `commit`, on another thread, so that the caller can prepare what comes next. Nothing else may be asked of
   * nftables until it is settled.
   */
  commitAside(changes: readonly NftChange[]): Promise<boolean>;
  /** All elements of a set, as they are now. */
  elements(set: NftSet): NftElement[];
  /** Whether the set has this element, with this value. */
  has(set: NftSet, element: NftElement): boolean;
  hasTable(table: NftTable): boolean;
  /** Names of a table's chains; undefined when there is no such table, or none in it. */
  chains(table: NftTable): string[] | undefined;
  /** How many rules each chain of a table has; chains without any may be missing. */
  ruleCounts(table: NftTable): ReadonlyMap<string, number>;
  /** Loads a ruleset in the language of nft(8), as one transaction. */
  load(ruleset: string): Promise<void>;
  /** Number of the ruleset's generation: it grows by one with each transaction of anybody that changes something. */
  generation(): number;
  /** Tells when somebody else changed one of the tables. Returns what ends it. */
  watch(tables: readonly NftTable[], changed: (what: NftForeignChange) => void): () => void;
  close(): void;
}

export const setName = (set: NftSet): string => `${set.table.family} ${set.table.name} ${set.name}`;

export const tableName = (table: NftTable): string => `${table.family} ${table.name}`;
