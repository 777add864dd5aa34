import type { IpFamily } from '../../net/ip.ts';

/** Offsets in struct ipt_entry or ip6t_entry (linux/netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h). */
export interface EntryLayout {
  readonly family: IpFamily;
  readonly source: number;
  readonly destination: number;
  readonly sourceMask: number;
  readonly destinationMask: number;
  readonly input: number;
  readonly inputMask: number;
  readonly protocol: number;
  readonly flags: number;
  readonly inverted: number;
  /** unsigned int nfcache, which nothing uses any more. */
  readonly cache: number;
  readonly targetOffset: number;
  readonly nextOffset: number;
  /** Written by the kernel when it checks the table. */
  readonly comefrom: number;
  readonly counters: number;
  /** Size of the entry, where its matches begin. */
  readonly size: number;
}

const IPV4: EntryLayout = {
  family: 4,
  source: 0,
  destination: 4,
  sourceMask: 8,
  destinationMask: 12,
  input: 16,
  inputMask: 48,
  protocol: 80,
  flags: 82,
  inverted: 83,
  cache: 84,
  targetOffset: 88,
  nextOffset: 90,
  comefrom: 92,
  counters: 96,
  size: 112,
};

const IPV6: EntryLayout = {
  family: 6,
  source: 0,
  destination: 16,
  sourceMask: 32,
  destinationMask: 48,
  input: 64,
  inputMask: 96,
  protocol: 128,
  flags: 131,
  inverted: 132,
  cache: 136,
  targetOffset: 140,
  nextOffset: 142,
  comefrom: 144,
  counters: 152,
  size: 168,
};

export function entryLayout(family: IpFamily): EntryLayout {
  return family === 4 ? IPV4 : IPV6;
}

/** struct xt_entry_match and xt_entry_target: size, name, revision; what they carry comes after. */
export const EXTENSION_HEADER = 32;
/** struct xt_standard_target, aligned: its verdict comes after the header. */
export const STANDARD_TARGET = 40;
/** struct xt_error_target, aligned: the name of the chain comes after the header. */
export const ERROR_TARGET = 64;
export const ERROR_NAME = 'ERROR';

/** Verdicts of standard targets; those of 0 and above are offsets of entries. */
export const VERDICTS = { DROP: -1, ACCEPT: -2, RETURN: -5 } as const;

/** struct ipt_replace ahead of the entries. */
export const REPLACE_HEADER = 96;
/** struct ipt_get_entries ahead of the entries. */
export const GET_ENTRIES_HEADER = 40;
/** NF_INET_NUMHOOKS */
export const HOOKS = 5;
/** Chains of the kernel by the number of their hook. */
export const HOOK_CHAINS = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'] as const;
