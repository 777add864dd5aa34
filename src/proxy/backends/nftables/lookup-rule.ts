import type { NftExpression, NftRule } from '../../../kernel/nft/expression.ts';
import { indexField } from '../../../kernel/nft/field.ts';
import type { IpFamily } from '../../../net/ip.ts';
import { drawsOf, type Balancer, type Way } from './balancer.ts';
import { KIND_MASK, POOL_MASK, SHORT_CIRCUIT_MASK } from './service-code.ts';
import type { ProxySets } from './sets.ts';

// Registers of 32 bits, IPv6 needing most: where the packet goes 0 to 5, the client 3 to 6, the pool 7, the number 8,
// the endpoint 9 to 13, the packet's own mark meanwhile 14. Client and pool are one key, pool and number another.
const CLIENT_END = 7;
const POOL = 7;
const NUMBER = 8;
const ENDPOINT = 9;
const SAVED_MARK = 14;
const REGISTERS_OF_ADDRESS = { 4: 1, 6: 4 } as const;
const HEADER = {
  4: { source: 12, destination: 16, length: 4 },
  6: { source: 8, destination: 24, length: 16 },
} as const;

/** Whether a service port is looked up by address, protocol and port, or (at a node's address) without the address. */
export type EntryKind = 'service' | 'nodeport';

const ENTRY_KINDS: Readonly<Record<Way, EntryKind>> = {
  lb: 'service',
  'lb-all': 'service',
  nodeport: 'nodeport',
  'nodeport-all': 'nodeport',
};
const POOL_MASKS: Readonly<Record<Way, number>> = {
  lb: POOL_MASK,
  'lb-all': SHORT_CIRCUIT_MASK,
  nodeport: POOL_MASK,
  'nodeport-all': SHORT_CIRCUIT_MASK,
};

/** Rules that look service ports up; each comment is how nft lists the rule, less what it does with the mark. */
export class LookupRules {
  readonly #sets: ProxySets;
  readonly #family: IpFamily;
  readonly #width: number;

  constructor(sets: ProxySets, family: IpFamily) {
    this.#sets = sets;
    this.#family = family;
    this.#width = REGISTERS_OF_ADDRESS[family];
  }

  /** `ip daddr . meta l4proto . th dport map @service-ips & 0x00000003 vmap @kinds`. */
  dispatchKind(kind: EntryKind): NftRule {
    const verdicts = kind === 'service' ? this.#sets.kinds : this.#sets.nodePortKinds;
    return [...this.#masked(kind, KIND_MASK, POOL), { statement: 'vmap', map: verdicts.name, key: POOL }];
  }

  /** `ip daddr . meta l4proto . th dport map @service-ips & 0xfffffffd map @pools vmap @balancers`. */
  dispatchBalancer(way: Way): NftRule {
    return [
      ...this.#pool(way),
      { load: 'map', map: this.#sets.pools.name, key: POOL, register: NUMBER },
      ...throughMark(NUMBER, NUMBER),
      { statement: 'vmap', map: waySet(this.#sets, way).name, key: NUMBER },
    ];
  }

  /** What a balancing chain does. */
  balance(way: Way, balancer: Balancer): NftRule[] {
    const draws = drawsOf(balancer);
    const { affinitySeconds } = balancer;
    if (affinitySeconds === 0) return draws.map((modulus) => this.#dnat(way, modulus));
    return [
      this.#dnatKnown(way, affinitySeconds),
      ...draws.map((modulus) => this.#dnatAndLearn(way, modulus, affinitySeconds)),
    ];
  }

  /** `ip daddr . meta l4proto . th dport map @no-endpoint-services vmap @refusals`. */
  refuse(kind: EntryKind): NftRule {
    const { noEndpointServices, noEndpointNodePorts, refusals } = this.#sets;
    const map = kind === 'service' ? noEndpointServices : noEndpointNodePorts;
    return [
      ...this.entry(kind),
      { load: 'map', map: map.name, key: 0, register: NUMBER },
      ...throughMark(NUMBER, NUMBER),
      { statement: 'vmap', map: refusals.name, key: NUMBER },
    ];
  }

  /** `ip daddr . meta l4proto . th dport map @firewall-ips` into register 0, the source's address from 1 on. */
  sourceOfGuarded(): NftExpression[] {
    return [
      ...this.entry('service'),
      { load: 'map', map: this.#sets.firewallIps.name, key: 0, register: 0 },
      ...throughMark(0, 0),
      this.address('source', 1),
    ];
  }

  address(which: 'source' | 'destination', register: number): NftExpression {
    const { length, [which]: offset } = HEADER[this.#family];
    return { load: 'payload', base: 'network', offset, length, register };
  }

  /** `ip saddr . ip daddr @hairpin-connections`. */
  hairpin(): NftExpression[] {
    return [
      this.address('source', 0),
      this.address('destination', this.#width),
      { match: 'set', set: this.#sets.hairpins.name, key: 0 },
    ];
  }

  /** What finds a service port, from register 0 on. */
  entry(kind: EntryKind): NftExpression[] {
    const port = kind === 'service' ? this.#width : 0;
    return [
      ...(kind === 'service' ? [this.address('destination', 0)] : []),
      { load: 'meta', key: 'l4proto', register: port },
      { load: 'payload', base: 'transport', offset: 2, length: 2, register: port + 1 },
    ];
  }

  /** `dnat to … & 0xfffffffd . numgen random mod N map @endpoints`. */
  #dnat(way: Way, modulus: number): NftRule {
    return [
      ...this.#pool(way),
      { load: 'random', modulus, register: NUMBER },
      { load: 'map', map: this.#sets.endpoints.name, key: POOL, register: ENDPOINT },
      this.#dnatToEndpoint(),
    ];
  }

  /** `ip saddr . pool map @affinity`, `update @affinity { … }`, `dnat to pool . number map @endpoints`. */
  #dnatKnown(way: Way, affinitySeconds: number): NftRule {
    const { affinity, endpoints } = this.#sets;
    return [
      ...this.#pool(way),
      this.#client(),
      { load: 'map', map: affinity.name, key: CLIENT_END - this.#width, register: NUMBER },
      ...throughMark(NUMBER, NUMBER),
      // Not there any more: the client is given another one by the rules that follow.
      { load: 'map', map: endpoints.name, key: POOL, register: ENDPOINT },
      this.#remember(affinitySeconds),
      this.#dnatToEndpoint(),
    ];
  }

  /** `… . numgen random mod N map @slots`, `update @affinity { … }`, `dnat to pool . number map @endpoints`. */
  #dnatAndLearn(way: Way, modulus: number, affinitySeconds: number): NftRule {
    const { affinity, endpoints, slots } = this.#sets;
    return [
      ...this.#pool(way),
      { load: 'random', modulus, register: NUMBER },
      { load: 'map', map: slots.name, key: POOL, register: NUMBER },
      ...throughMark(NUMBER, NUMBER),
      { load: 'map', map: endpoints.name, key: POOL, register: ENDPOINT },
      this.#client(),
      // An update leaves the data of an element that is there alone.
      { statement: 'forget', map: affinity.name, key: CLIENT_END - this.#width, data: NUMBER },
      this.#remember(affinitySeconds),
      this.#dnatToEndpoint(),
    ];
  }

  #remember(timeoutSeconds: number): NftExpression {
    const key = CLIENT_END - this.#width;
    return { statement: 'update', map: this.#sets.affinity.name, key, data: NUMBER, timeoutSeconds };
  }

  #client(): NftExpression {
    return this.address('source', CLIENT_END - this.#width);
  }

  #pool(way: Way): NftExpression[] {
    return this.#masked(ENTRY_KINDS[way], POOL_MASKS[way], POOL);
  }

  /** Part of the service code that the packet's destination has. */
  #masked(kind: EntryKind, mask: number, register: number): NftExpression[] {
    const services = kind === 'service' ? this.#sets.serviceIps : this.#sets.serviceNodePorts;
    return [
      ...this.entry(kind),
      { load: 'map', map: services.name, key: 0, register },
      ...throughMark(register, register),
      { load: 'bitwise', from: register, register, mask: indexField(mask), xor: indexField(0) },
    ];
  }

  #dnatToEndpoint(): NftExpression {
    const family = this.#family === 4 ? 'ip' : 'ip6';
    return { statement: 'dnat', family, address: ENDPOINT, port: ENDPOINT + this.#width };
  }
}

/** The verdict map that leads a way to its balancing chains. */
export function waySet(sets: ProxySets, way: Way): ProxySets['balancers'] {
  return {
    lb: sets.balancers,
    'lb-all': sets.shortCircuits,
    nodeport: sets.nodePortBalancers,
    'nodeport-all': sets.nodePortShortCircuits,
  }[way];
}

/**
 * A number that a map gave goes through the packet's mark, which is as it was when this ends: nft before 1.1 aborts
 * when it lists a map right behind a map, but not with this between. Nothing in here can end the rule.
 */
function throughMark(from: number, to: number): NftExpression[] {
  return [
    { load: 'meta', key: 'mark', register: SAVED_MARK },
    { statement: 'set-mark', register: from },
    { load: 'meta', key: 'mark', register: to },
    { statement: 'set-mark', register: SAVED_MARK },
  ];
}
