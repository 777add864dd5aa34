import type { NftExpression } from './expression.ts';
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
  /** What is left of the lifetime; only in what is read. */
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

/** Writes the rules of a regular chain, which is made if it is not there: all of them, the old ones go. */
export interface NftChainChange {
  readonly operation: 'write-chain';
  readonly table: NftTable;
  readonly chain: string;
  readonly rules: readonly (readonly NftExpression[])[];
}

export type NftChange = NftElementsChange | NftChainChange;

/** The part of nftables that programs elements; a real one (NftSocket) and a fake one (FakeNft). */
export interface NftKernel {
  /**
   * Applies all changes in their order as one transaction: all or nothing. Throws FlatnetError whose message names
   * the set and elements that the kernel refused. False: there was nothing to do, and no transaction.
   */
  commit(changes: readonly NftChange[]): boolean;
  /** All elements of a set, as they are now. */
  elements(set: NftSet): NftElement[];
  /** Whether the set has this element, with this value. */
  has(set: NftSet, element: NftElement): boolean;
  /** Names of a table's chains; undefined when there is no such table. */
  chains(table: NftTable): string[] | undefined;
  /** How many rules each chain of a table has; chains without any may be missing. */
  ruleCounts(table: NftTable): ReadonlyMap<string, number>;
  /** Names of a table's sets and maps. Throws ENOENT when there is no such table. */
  sets(table: NftTable): string[];
  /** Number of the ruleset's generation: it grows by one with each transaction of anybody that changes something. */
  generation(): number;
  /** Loads a ruleset in the language of nft(8), as one transaction. */
  load(ruleset: string): Promise<void>;
  close(): void;
}

export const setName = (set: NftSet): string => `${set.table.family} ${set.table.name} ${set.name}`;
