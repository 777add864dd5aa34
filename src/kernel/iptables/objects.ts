import type { IpFamily } from '../../net/ip.ts';
import type { IptablesRule } from './rule.ts';

export const TABLES = ['mangle', 'nat', 'filter'] as const;
export type TableName = (typeof TABLES)[number];

/** Which of the kernel's two packet filters the iptables tools program: ip_tables, or nf_tables. */
export type IptablesVariant = 'legacy' | 'nft';

/** Has the chain hold exactly these rules; makes it where it is not there. */
interface WriteChain {
  readonly operation: 'write-chain';
  readonly table: TableName;
  readonly chain: string;
  readonly rules: readonly IptablesRule[];
}

/** Removes a chain that no rule leads to any more, with its rules. */
interface DeleteChain {
  readonly operation: 'delete-chain';
  readonly table: TableName;
  readonly chain: string;
}

/** Puts a rule in front of the others, or behind them. */
interface AddRule {
  readonly operation: 'prepend' | 'append';
  readonly table: TableName;
  readonly chain: string;
  readonly rule: IptablesRule;
}

/** Deletes the first rule that is the same as this one; that there is none is an error. */
interface DeleteRule {
  readonly operation: 'delete';
  readonly table: TableName;
  readonly chain: string;
  readonly rule: IptablesRule;
}

/** Deletes the rule at a position, counted from 1 among the rules that are there before any other change. */
interface DeleteRuleAt {
  readonly operation: 'delete-at';
  readonly table: TableName;
  readonly chain: string;
  readonly position: number;
}

export type IptablesChange = WriteChain | DeleteChain | AddRule | DeleteRule | DeleteRuleAt;

/** What a table holds. Rules are told by keys: two rules with the same key do the same. */
export interface ObservedTable {
  chains(): Iterable<string>;
  /** Keys of a chain's rules in their order; undefined when there is no such chain. */
  rules(chain: string): readonly string[] | undefined;
}

export type ObservedTables = Readonly<Record<TableName, ObservedTable>>;

/** iptables of one address family in one network namespace: real ones, and a fake one (FakeIptables). */
export interface IptablesKernel {
  readonly family: IpFamily;
  readonly variant: IptablesVariant;
  /** Whether MASQUERADE can choose ports at random (`--random-fully`, iptables 1.6.2). */
  readonly randomFully: boolean;
  /** The key that `rule` has in what is observed. */
  key(rule: IptablesRule): string;
  /** Whether what has this key looks at an ipset. */
  looksAtSets(key: string): boolean;
  /** Throws where the kernel does not have iptables of this variant and family. */
  probe(): Promise<void>;
  read(table: TableName): Promise<ObservedTable>;
  /** All tables, which some tools read for each of them. */
  readAll(): Promise<ObservedTables>;
  /**
   * Applies changes so that at every moment packets find either what was there before a change or what is there after
   * it, in their order where they depend on each other; those of one table at once where the kernel can. Throws
   * FlatnetError with the tool's own words.
   */
  apply(changes: readonly IptablesChange[]): Promise<void>;
  /** The table as iptables-save prints it, without counters. */
  save(table: TableName): Promise<string>;
  /** Which of these chains the table does not have. Costs nothing that grows with the number of rules. */
  missingChains(table: TableName, chains: readonly string[]): Promise<string[]>;
  /**
   * Whether somebody else changed chains of the proxy (KUBE-*) or of the kernel since this was last read or applied, as
   * far as the kernel tells without everything being read. Costs nothing that grows with the number of rules.
   */
  alteredByOthers(): Promise<boolean>;
  /** Calls back when somebody may have changed a table. Absent where the kernel does not tell. */
  watch?(changed: () => void): () => void;
  close(): void;
}
