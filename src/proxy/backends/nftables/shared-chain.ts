import type { NftExpression } from '../../../kernel/nft/expression.ts';
import type { NftChainChange } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxySets } from './sets.ts';

/** A chain that all Services share that need the same: its name says what is in it. */
export type SharedChain =
  /** Balances over so many endpoints; `nodeport` for connections to a node port, which it marks for masquerade. */
  | { readonly kind: 'lb' | 'nodeport'; readonly endpoints: number; readonly affinity: boolean }
  /** Remembers for so long which endpoint a client was given. */
  | { readonly kind: 'learn'; readonly timeoutSeconds: number };

export function sharedChainName(chain: SharedChain): string {
  if (chain.kind === 'learn') return `learn-${chain.timeoutSeconds}s`;
  return `${chain.kind}-${chain.endpoints}${chain.affinity ? '-affinity' : ''}`;
}

export function parseSharedChain(name: string): SharedChain | undefined {
  const learn = /^learn-(\d+)s$/.exec(name);
  if (learn !== null) return { kind: 'learn', timeoutSeconds: Number(learn[1]) };
  const balance = /^(lb|nodeport)-(\d+)(-affinity)?$/.exec(name);
  if (balance === null) return undefined;
  const kind = balance[1] === 'lb' ? 'lb' : 'nodeport';
  return { kind, endpoints: Number(balance[2]), affinity: balance[3] !== undefined };
}

/** The chains that `chain` goes on to, which must be there before it, and then itself. */
export function withChainsBehind(chain: SharedChain): SharedChain[] {
  return chain.kind !== 'learn' && chain.affinity ? [{ ...chain, affinity: false }, chain] : [chain];
}

// Registers of 32 bits: a key from 0 on, at most 10 long (two IPv6 addresses, protocol, port); what a map answers
// from 10 on, at most 5 long. That is why clients are remembered after DNAT: key, number and answer together would
// not fit.
const ANSWER = 10;
const REGISTERS_OF_ADDRESS = { 4: 1, 6: 4 } as const;
const HEADER = {
  4: { source: 12, destination: 16, length: 4 },
  6: { source: 8, destination: 24, length: 16 },
} as const;

export function buildSharedChain(
  sets: ProxySets,
  family: IpFamily,
  masqueradeMark: number,
  chain: SharedChain,
): NftChainChange {
  const rules = new RuleBuilder(sets, family);
  return {
    operation: 'write-chain',
    table: sets.table,
    chain: sharedChainName(chain),
    rules: chain.kind === 'learn' ? [rules.learn(chain.timeoutSeconds)] : balance(rules, chain, masqueradeMark),
  };
}

function balance(
  rules: RuleBuilder,
  chain: Exclude<SharedChain, { kind: 'learn' }>,
  masqueradeMark: number,
): NftExpression[][] {
  const mark: NftExpression[][] =
    chain.kind === 'nodeport' ? [[{ statement: 'set-mark-bits', bits: masqueradeMark }]] : [];
  if (chain.affinity) {
    const next = sharedChainName({ ...chain, affinity: false });
    return [...mark, rules.dnatKnownClient(), [{ statement: 'goto', chain: next }]];
  }
  return [
    ...mark,
    rules.dnat(chain.kind, chain.endpoints),
    // A packet on its way here while the Service lost an endpoint may have drawn the one that went: the first is
    // there as long as there is any.
    ...(chain.endpoints > 1 ? [rules.dnat(chain.kind, 1)] : []),
  ];
}

class RuleBuilder {
  readonly #sets: ProxySets;
  readonly #family: IpFamily;
  readonly #width: number;

  constructor(sets: ProxySets, family: IpFamily) {
    this.#sets = sets;
    this.#family = family;
    this.#width = REGISTERS_OF_ADDRESS[family];
  }

  /** `dnat to ip daddr . meta l4proto . th dport . numgen random mod N map @endpoints`. */
  dnat(kind: 'lb' | 'nodeport', endpoints: number): NftExpression[] {
    const address = kind === 'lb' ? [this.#address('destination', 0)] : [];
    const at = address.length * this.#width;
    const map = kind === 'lb' ? this.#sets.endpoints : this.#sets.nodePortEndpoints;
    return [
      ...address,
      ...this.#protocolAndPort(at),
      { load: 'random', modulus: endpoints, register: at + 2 },
      { load: 'map', map: map.name, key: 0, register: ANSWER },
      this.#dnatToAnswer(),
    ];
  }

  /** `dnat to ip saddr . ip daddr . meta l4proto . th dport map @affinity`. */
  dnatKnownClient(): NftExpression[] {
    return [
      this.#address('source', 0),
      this.#address('destination', this.#width),
      ...this.#protocolAndPort(2 * this.#width),
      { load: 'map', map: this.#sets.affinity.name, key: 0, register: ANSWER },
      this.#dnatToAnswer(),
    ];
  }

  /** `update @affinity { ct original … : ip daddr . th dport }`, after DNAT: a known client's time begins anew. */
  learn(timeoutSeconds: number): NftExpression[] {
    const ip = this.#family === 4 ? 'ip' : 'ip6';
    return [
      { load: 'ct', key: `${ip} saddr`, register: 0 },
      { load: 'ct', key: `${ip} daddr`, register: this.#width },
      { load: 'meta', key: 'l4proto', register: 2 * this.#width },
      { load: 'ct', key: 'proto-dst', register: 2 * this.#width + 1 },
      this.#address('destination', ANSWER),
      { load: 'payload', base: 'transport', offset: 2, length: 2, register: ANSWER + this.#width },
      { statement: 'update', map: this.#sets.affinity.name, key: 0, data: ANSWER, timeoutSeconds },
    ];
  }

  #address(which: 'source' | 'destination', register: number): NftExpression {
    const { length, [which]: offset } = HEADER[this.#family];
    return { load: 'payload', base: 'network', offset, length, register };
  }

  #protocolAndPort(register: number): NftExpression[] {
    return [
      { load: 'meta', key: 'l4proto', register },
      { load: 'payload', base: 'transport', offset: 2, length: 2, register: register + 1 },
    ];
  }

  #dnatToAnswer(): NftExpression {
    const family = this.#family === 4 ? 'ip' : 'ip6';
    return { statement: 'dnat', family, address: ANSWER, port: ANSWER + this.#width };
  }
}
