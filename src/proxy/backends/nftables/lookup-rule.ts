import type { NftExpression, NftRule } from '../../../kernel/nft/expression.ts';
import { indexField } from '../../../kernel/nft/field.ts';
import type { IpFamily } from '../../../net/ip.ts';
import {
  AFFINITY_MASK,
  CODE_MASK,
  drawsOf,
  HALF_MASK,
  type Balancer,
  type Draw,
  type Way,
} from './balancer.ts';
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

  /** `ip daddr . meta l4proto . th dport map @service-ips & 0x00000007 vmap @kinds`. */
  dispatchKind(kind: EntryKind): NftRule {
    const verdicts = kind === 'service' ? this.#sets.kinds : this.#sets.nodePortKinds;
    return [...this.#masked(kind, KIND_MASK, POOL), { statement: 'vmap', map: verdicts.name, key: POOL }];
  }

  /** `ip daddr . meta l4proto . th dport map @service-ips & 0xfffffffd map @pools & 0xffffff00 vmap @lb-sticky`. */
  dispatchAffinity(way: Way): NftRule {
    return [
      ...this.#size(way),
      ...mask(NUMBER, AFFINITY_MASK),
      { statement: 'vmap', map: this.#sets.sticky[way].name, key: NUMBER },
    ];
  }

  /** What a balancing chain does. */
  balance(way: Way, balancer: Balancer): NftRule[] {
    const { affinitySeconds } = balancer;
    const known = affinitySeconds === 0 ? [] : [this.#dnatKnown(way, affinitySeconds)];
    return [...known, ...drawsOf(balancer).map((draw) => this.#dnatDrawn(way, draw, affinitySeconds))];
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

  /** `dnat to pool . number map @endpoints`, the number being drawn. */
  #dnatDrawn(way: Way, draw: Draw, affinitySeconds: number): NftRule {
    if (draw.kind === 'larger') return this.#dispatchLarger(way);
    const number =
      draw.kind === 'table'
        ? this.#drawFromTable(way, draw, affinitySeconds > 0)
        : this.#drawBelow(way, draw);
    const { affinity, endpoints, slots } = this.#sets;
    const lookUp: NftExpression = { load: 'map', map: endpoints.name, key: POOL, register: ENDPOINT };
    if (affinitySeconds === 0) return [...number, lookUp, this.#dnatToEndpoint()];
    return [
      ...number,
      { load: 'map', map: slots.name, key: POOL, register: NUMBER },
      ...throughMark(NUMBER, NUMBER),
      lookUp,
      this.#client(),
      // An update leaves the data of an element that is there alone.
      { statement: 'forget', map: affinity.name, key: CLIENT_END - this.#width, data: NUMBER },
      this.#remember(affinitySeconds),
      this.#dnatToEndpoint(),
    ];
  }

  /** `pool map @pools . numgen random mod 64 map @draws`. */
  #drawFromTable(
    way: Way,
    { results, half }: Extract<Draw, { kind: 'table' }>,
    sticky: boolean,
  ): NftExpression[] {
    const codeMask = (half ? HALF_MASK : 0xffffffff) & (sticky ? CODE_MASK : 0xffffffff);
    return [
      ...this.#size(way),
      ...(half || sticky ? mask(NUMBER, codeMask >>> 0) : []),
      { load: 'random', modulus: results, register: NUMBER + 1 },
      { load: 'map', map: this.#sets.draws.name, key: NUMBER, register: NUMBER },
      ...throughMark(NUMBER, NUMBER),
    ];
  }

  /** `pool`, `numgen random mod N`. */
  #drawBelow(way: Way, { modulus }: Extract<Draw, { kind: 'below' }>): NftExpression[] {
    return [...this.#pool(way), { load: 'random', modulus, register: NUMBER }];
  }

  /** `pool map @pools vmap @lb-large`. */
  #dispatchLarger(way: Way): NftRule {
    return [...this.#size(way), { statement: 'vmap', map: this.#sets.large[way].name, key: NUMBER }];
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

  #remember(timeoutSeconds: number): NftExpression {
    const key = CLIENT_END - this.#width;
    return { statement: 'update', map: this.#sets.affinity.name, key, data: NUMBER, timeoutSeconds };
  }

  #client(): NftExpression {
    return this.address('source', CLIENT_END - this.#width);
  }

  /** The pool in its register, and what stands in `pools` for it in the next. */
  #size(way: Way): NftExpression[] {
    return [
      ...this.#pool(way),
      { load: 'map', map: this.#sets.pools.name, key: POOL, register: NUMBER },
      ...throughMark(NUMBER, NUMBER),
    ];
  }

  #pool(way: Way): NftExpression[] {
    return this.#masked(ENTRY_KINDS[way], POOL_MASKS[way], POOL);
  }

  /** Part of the service code that the packet's destination has. */
  #masked(kind: EntryKind, bits: number, register: number): NftExpression[] {
    const services = kind === 'service' ? this.#sets.serviceIps : this.#sets.serviceNodePorts;
    return [
      ...this.entry(kind),
      { load: 'map', map: services.name, key: 0, register },
      ...throughMark(register, register),
      ...mask(register, bits),
    ];
  }

  #dnatToEndpoint(): NftExpression {
    const family = this.#family === 4 ? 'ip' : 'ip6';
    return { statement: 'dnat', family, address: ENDPOINT, port: ENDPOINT + this.#width };
  }
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

function mask(register: number, bits: number): NftExpression[] {
  return [{ load: 'bitwise', from: register, register, mask: indexField(bits), xor: indexField(0) }];
}
