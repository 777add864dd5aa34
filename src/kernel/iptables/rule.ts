/** A prefix or interface that must match, or must not. */
export interface Criterion {
  readonly value: string;
  readonly not?: boolean;
}

export type TransportName = 'tcp' | 'udp' | 'sctp';

export type ConnectionState = 'INVALID' | 'NEW' | 'RELATED' | 'ESTABLISHED' | 'SNAT' | 'DNAT';

/** The match extensions that a service proxy needs (iptables-extensions(8)). */
export type RuleMatch =
  | { readonly kind: 'comment'; readonly text: string }
  /** `-m tcp`, `-m udp` or `-m sctp`, as the rule's protocol is; without a port it matches every port. */
  | { readonly kind: 'transport'; readonly port?: number }
  /** One of `outOf` packets, at random. */
  | { readonly kind: 'statistic'; readonly outOf: number }
  | { readonly kind: 'conntrack'; readonly states: readonly ConnectionState[]; readonly not?: boolean }
  | { readonly kind: 'mark'; readonly mark: number; readonly not?: boolean }
  /** Whether the address is one of the machine's own. */
  | { readonly kind: 'local-address'; readonly of: 'source' | 'destination' }
  /** Puts the source address on a list; always matches. */
  | { readonly kind: 'recent-set'; readonly list: string }
  /** Whether the source address was put on the list within so many seconds; removes older ones. */
  | { readonly kind: 'recent-check'; readonly list: string; readonly seconds: number }
  /** Whether an ipset has the packet's addresses and ports, one for each of the set's dimensions. */
  | {
      readonly kind: 'set';
      readonly set: string;
      readonly of: readonly ('src' | 'dst')[];
      readonly not?: boolean;
      /** The kernel's number of the set (SetNumbers): ip_tables knows sets by nothing else. */
      readonly number?: number;
    }
  /** Counts packets in a named counter of nfnetlink_acct; always matches. */
  | { readonly kind: 'nfacct'; readonly counter: string };

export type RuleTarget =
  | { readonly kind: 'verdict'; readonly verdict: 'ACCEPT' | 'DROP' | 'RETURN' }
  | { readonly kind: 'jump'; readonly chain: string }
  /** ICMP port unreachable; for TCP a reset can be had instead. */
  | { readonly kind: 'reject'; readonly with?: 'tcp-reset' }
  | { readonly kind: 'dnat'; readonly address: string; readonly port: number }
  /** mark = (mark & ~mask) ^ value */
  | { readonly kind: 'mark'; readonly value: number; readonly mask: number }
  | { readonly kind: 'masquerade'; readonly randomFully: boolean };

/** One rule. Parts are in the order in which iptables-save prints them. */
export interface IptablesRule {
  readonly source?: Criterion;
  readonly destination?: Criterion;
  /** Name of the interface that the packet came in by; `cali+` stands for every name that begins so. */
  readonly input?: Criterion;
  readonly protocol?: TransportName;
  readonly matches?: readonly RuleMatch[];
  /** None: the rule only counts. */
  readonly target?: RuleTarget;
}
