import type { NftExpression } from '../../../kernel/nft/expression.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxySets } from './sets.ts';

// Registers of 32 bits: a key from 0 on, at most 10 long (two IPv6 addresses, protocol, port); what a map answers
// from 10 on, at most 5 long. That is why clients are remembered after DNAT: key, number and answer together would
// not fit.
const ANSWER = 10;
const REGISTERS_OF_ADDRESS = { 4: 1, 6: 4 } as const;
const HEADER = {
  4: { source: 12, destination: 16, length: 4 },
  6: { source: 8, destination: 24, length: 16 },
} as const;

/** Whether a connection is looked up by address, protocol and port, or (at a node's address) without the address. */
export type EntryKind = 'service' | 'nodeport';

/** Rules that look Services up; each comment is how nft lists the rule. */
export class LookupRules {
  readonly #sets: ProxySets;
  readonly #family: IpFamily;
  readonly #width: number;

  constructor(sets: ProxySets, family: IpFamily) {
    this.#sets = sets;
    this.#family = family;
    this.#width = REGISTERS_OF_ADDRESS[family];
  }

  /** `ip daddr . meta l4proto . th dport map @service-ips … vmap @balancers`. */
  balance(kind: EntryKind): NftExpression[] {
    const services = kind === 'service' ? this.#sets.serviceIps : this.#sets.serviceNodePorts;
    const chains = kind === 'service' ? this.#sets.balancers : this.#sets.nodePortBalancers;
    return [
      ...this.#entry(kind),
      { load: 'map', map: services.name, key: 0, register: 0 },
      ...goWhereItSays(chains.name),
    ];
  }

  /** `ct original ip daddr . meta l4proto . ct original proto-dst map @affinity-services … vmap @learners`. */
  dispatchLearning(kind: EntryKind): NftExpression[] {
    const services = kind === 'service' ? this.#sets.affinityServices : this.#sets.affinityNodePorts;
    return [
      ...(kind === 'service' ? [this.#original('daddr', 0)] : []),
      ...this.#originalPort(kind === 'service' ? this.#width : 0),
      { load: 'map', map: services.name, key: 0, register: 0 },
      ...goWhereItSays(this.#sets.learners.name),
    ];
  }

  /** `dnat to ip daddr . meta l4proto . th dport . numgen random mod N map @endpoints`. */
  dnat(kind: EntryKind, endpoints: number): NftExpression[] {
    const map = kind === 'service' ? this.#sets.endpoints : this.#sets.nodePortEndpoints;
    const number = (kind === 'service' ? this.#width : 0) + 2;
    return [
      ...this.#entry(kind),
      { load: 'random', modulus: endpoints, register: number },
      { load: 'map', map: map.name, key: 0, register: ANSWER },
      this.#dnatToAnswer(),
    ];
  }

  /** `dnat to ip saddr . ip daddr . meta l4proto . th dport map @affinity`. */
  dnatKnownClient(): NftExpression[] {
    return [
      this.#address('source', 0),
      this.#address('destination', this.#width),
      ...this.#port(2 * this.#width),
      { load: 'map', map: this.#sets.affinity.name, key: 0, register: ANSWER },
      this.#dnatToAnswer(),
    ];
  }

  /** `update @affinity { ct original … : ip daddr . th dport }`, after DNAT: a known client's time begins anew. */
  learn(timeoutSeconds: number): NftExpression[] {
    return [
      this.#original('saddr', 0),
      this.#original('daddr', this.#width),
      ...this.#originalPort(2 * this.#width),
      this.#address('destination', ANSWER),
      { load: 'payload', base: 'transport', offset: 2, length: 2, register: ANSWER + this.#width },
      { statement: 'update', map: this.#sets.affinity.name, key: 0, data: ANSWER, timeoutSeconds },
    ];
  }

  #entry(kind: EntryKind): NftExpression[] {
    if (kind === 'nodeport') return this.#port(0);
    return [this.#address('destination', 0), ...this.#port(this.#width)];
  }

  #address(which: 'source' | 'destination', register: number): NftExpression {
    const { length, [which]: offset } = HEADER[this.#family];
    return { load: 'payload', base: 'network', offset, length, register };
  }

  /** Protocol and destination port. */
  #port(register: number): NftExpression[] {
    return [
      { load: 'meta', key: 'l4proto', register },
      { load: 'payload', base: 'transport', offset: 2, length: 2, register: register + 1 },
    ];
  }

  #original(which: 'saddr' | 'daddr', register: number): NftExpression {
    return { load: 'ct', key: this.#family === 4 ? `ip ${which}` : `ip6 ${which}`, register };
  }

  #originalPort(register: number): NftExpression[] {
    return [
      { load: 'meta', key: 'l4proto', register },
      { load: 'ct', key: 'proto-dst', register: register + 1 },
    ];
  }

  #dnatToAnswer(): NftExpression {
    const family = this.#family === 4 ? 'ip' : 'ip6';
    return { statement: 'dnat', family, address: ANSWER, port: ANSWER + this.#width };
  }
}

/**
 * A verdict map behind the map whose answer is in register 0. The answer goes through the packet's mark, which is as
 * it was when the rule ends: nft before 1.1 aborts when it lists a map right behind a map, but not with this between.
 */
function goWhereItSays(verdicts: string): NftExpression[] {
  return [
    { load: 'meta', key: 'mark', register: 1 },
    { statement: 'set-mark', register: 0 },
    { load: 'meta', key: 'mark', register: 2 },
    { statement: 'set-mark', register: 1 },
    { statement: 'vmap', map: verdicts, key: 2 },
  ];
}
