// What a rule is made of, as the kernel takes it (<linux/netfilter/nf_tables.h>): nft's own language cannot say all of
// it. nft 1.0 refuses `numgen` in the key of a map declared by `type`, and has no map behind a map.

/** `register` counts 32-bit registers from 0 to 15; a value takes as many as its length needs. */
export type NftLoad =
  | {
      readonly load: 'payload';
      readonly base: 'network' | 'transport';
      readonly offset: number;
      readonly length: number;
      readonly register: number;
    }
  /** `iifname` takes four registers. */
  | { readonly load: 'meta'; readonly key: 'mark' | 'l4proto' | 'iifname'; readonly register: number }
  | { readonly load: 'ct'; readonly key: 'state' | 'status'; readonly register: number }
  /** What kind of address the source or the destination is on this node: a number of RTN_* (2: local). */
  | { readonly load: 'fib'; readonly of: 'source' | 'destination'; readonly register: number }
  | { readonly load: 'random'; readonly modulus: number; readonly register: number }
  /** Ends the rule when the map does not have the key. */
  | { readonly load: 'map'; readonly map: string; readonly key: number; readonly register: number }
  /** `(from & mask) ^ xor`, byte for byte. */
  | {
      readonly load: 'bitwise';
      readonly from: number;
      readonly register: number;
      readonly mask: string;
      readonly xor: string;
    };

/** What ends the rule unless it is so. */
export type NftMatch =
  | {
      readonly match: 'bytes';
      readonly register: number;
      readonly operator: '==' | '!=';
      readonly bytes: string;
    }
  | { readonly match: 'set'; readonly set: string; readonly key: number; readonly negated?: true };

export type NftStatement =
  | { readonly statement: 'set-mark'; readonly register: number }
  /** Puts a new element into the map, or begins the time of the one that is there anew. */
  | {
      readonly statement: 'update';
      readonly map: string;
      readonly key: number;
      readonly data: number;
      readonly timeoutSeconds: number;
    }
  /** Takes an element out of the map, if it is there. */
  | { readonly statement: 'forget'; readonly map: string; readonly key: number; readonly data: number }
  | {
      readonly statement: 'dnat';
      readonly family: 'ip' | 'ip6';
      readonly address: number;
      readonly port: number;
    }
  /** With the address of the interface that the packet leaves by, from a port drawn at random. */
  | { readonly statement: 'masquerade' }
  /** Tells the sender: by a reset (TCP only), or by ICMP that the port is unreachable. */
  | { readonly statement: 'reject'; readonly family: 'ip' | 'ip6'; readonly by: 'tcp-reset' | 'icmp' }
  | { readonly statement: 'accept' | 'drop' }
  | { readonly statement: 'goto' | 'jump'; readonly chain: string }
  /** Goes where the verdict map says; ends the rule when it does not have the key. */
  | { readonly statement: 'vmap'; readonly map: string; readonly key: number };

export type NftExpression = NftLoad | NftMatch | NftStatement;

export type NftRule = readonly NftExpression[];
