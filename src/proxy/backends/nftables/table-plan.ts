import { createHash } from 'node:crypto';
import type { NftExpression, NftRule } from '../../../kernel/nft/expression.ts';
import { indexField } from '../../../kernel/nft/field.ts';
import type { NftChainChange, NftChange, NftElement, NftHook, NftSet } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxySettings } from '../../settings.ts';
import {
  balancerChain,
  balancerElement,
  drawElements,
  standardBalancers,
  WAYS,
  type Balancer,
  type Way,
} from './balancer.ts';
import { matchCidr, matchLocalTraffic } from './local-traffic.ts';
import { LookupRules, type EntryKind } from './lookup-rule.ts';
import { REFUSAL } from './refusal.ts';
import { KIND, STICKY_BIT } from './service-code.ts';
import { setTypes, verdictMaps, type ProxySets } from './sets.ts';
import { firewallRules } from './source-ranges.ts';

// The rules never change with the Services: what differs from Service to Service stands in the elements of maps.
// A connection to a service address finds in @service-ips the number of the service port and what kind of address it
// is, by the kind in @kinds the chain that decides on masquerade and on the pool, and there the chain that draws a
// number, according to what @pools says of the pool, and looks up `pool . number` in @endpoints.
//
// Why not a verdict map from Service to chain, as kube-proxy has it: whenever such a map gets an element, the kernel
// walks all its elements (nft_lookup_validate), 1 ms for 10,000 Services.

const LAYOUT = 2;
const MARKER_PREFIX = `ruleset-v${LAYOUT}-`;
const REFUSE_CHAIN = 'refuse';
const HOOKED = { filter: 0, dstnat: -100, srcnat: 100 } as const;
/** IP_CT_NEW as nft has it: bit 3 of the state. IPS_DST_NAT of the status. RTN_LOCAL. */
const CT_NEW = indexField(8);
const CT_DNAT = indexField(0x20);
const FIB_LOCAL = indexField(2);
const TCP = '\x06';

/** What a family's table is made of, whatever Services there are. */
export interface TablePlan {
  /** Name of an empty chain that tells which rules are loaded. */
  readonly marker: string;
  /** Those that others go to come first. */
  readonly chains: readonly NftChainChange[];
  /** Elements of the verdict maps. */
  readonly verdicts: ReadonlyMap<NftSet, readonly NftElement[]>;
  /** Elements of `draws`. */
  readonly draws: readonly NftElement[];
}

/** Whether a chain is the marker of a table whose maps mean the same as today's. */
export const isMarkerOfLayout = (chain: string): boolean => chain.startsWith(MARKER_PREFIX);

export function planTable(settings: ProxySettings, sets: ProxySets, family: IpFamily): TablePlan {
  const writer = new TableWriter(settings, sets, family);
  const chains = writer.chains();
  const verdicts = writer.verdicts();
  const draws = drawElements();
  const hash = createHash('sha256')
    .update(JSON.stringify([chains, [...verdicts.values()], draws]))
    .digest('hex')
    .slice(0, 12);
  return { marker: MARKER_PREFIX + hash, chains, verdicts, draws };
}

/** The chains alone. */
export function planChains(settings: ProxySettings, sets: ProxySets, family: IpFamily): NftChainChange[] {
  return new TableWriter(settings, sets, family).chains();
}

/** Everything of the plan, and no service port; the table must not be there. */
export function createTable(plan: TablePlan, sets: ProxySets, family: IpFamily): NftChange[] {
  const { table } = sets;
  return [
    { operation: 'add-table', table },
    ...[...setTypes(sets, family)].map(([set, type]) => ({ operation: 'add-set', set, type }) as const),
    // Rules go to chains of verdict maps only, and these get their elements when all chains are there.
    ...plan.chains,
    ...[...plan.verdicts].map(([set, elements]) => ({ operation: 'add', set, elements }) as const),
    { operation: 'add', set: sets.draws, elements: plan.draws },
    { operation: 'write-chain', table, chain: plan.marker, rules: [] },
  ];
}

/** A chain that balances and the element that leads to it, for those that are not always there. */
export function addBalancer(rules: LookupRules, sets: ProxySets, way: Way, balancer: Balancer): NftChange[] {
  const chain = balancerChain(way, balancer);
  const lead = balancerElement(way, balancer);
  const write = {
    operation: 'write-chain',
    table: sets.table,
    chain,
    rules: rules.balance(way, balancer),
  } as const;
  if (lead === undefined) return [write];
  return [write, { operation: 'add', set: sets[lead.by][way], elements: [lead.element] }];
}

/** The ways that there are: without node ports on all addresses, node ports are found as service addresses are. */
const waysOf = (settings: ProxySettings): Way[] =>
  WAYS.filter((way) => settings.nodePortAddresses === 'all' || !way.startsWith('nodeport'));

class TableWriter {
  readonly #settings: ProxySettings;
  readonly #sets: ProxySets;
  readonly #family: IpFamily;
  readonly #rules: LookupRules;
  readonly #local: NftExpression[][] | undefined;

  constructor(settings: ProxySettings, sets: ProxySets, family: IpFamily) {
    this.#settings = settings;
    this.#sets = sets;
    this.#family = family;
    this.#rules = new LookupRules(sets, family);
    this.#local = matchLocalTraffic(settings.localTraffic, family, this.#rules.address('source', 0));
  }

  chains(): NftChainChange[] {
    return [
      ...this.#balancerChains(),
      ...this.#dispatchChains('service'),
      ...(this.#settings.nodePortAddresses === 'all' ? this.#dispatchChains('nodeport') : []),
      // kube-proxy answers TCP with ICMP too; but a socket of the node itself does not hear that while it is still
      // connecting, and ICMP is rate-limited: either way the client waits for a second or more.
      this.#chain(REFUSE_CHAIN, [
        [
          { load: 'meta', key: 'l4proto', register: 0 },
          { match: 'bytes', register: 0, operator: '==', bytes: TCP },
          { statement: 'reject', family: this.#ip, by: 'tcp-reset' },
        ],
        [{ statement: 'reject', family: this.#ip, by: 'icmp' }],
      ]),
      ...this.#firewallChains(),
      this.#chain('cluster-ips-check', this.#clusterIpsCheck()),
      this.#chain('services', this.#services()),
      this.#chain('masquerading', this.#masquerading()),
      ...this.#hooks(),
    ];
  }

  verdicts(): Map<NftSet, NftElement[]> {
    const sets = this.#sets;
    const verdicts = new Map(verdictMaps(sets).map((set) => [set, [] as NftElement[]]));
    const { cluster, clusterLocal, external, externalLocal } = KIND;
    const goto = (set: NftSet, kind: number, chain: string): void => {
      verdicts.get(set)?.push({ key: indexField(kind), value: `goto ${chain}` });
    };
    for (const sticky of [false, true]) {
      const bit = sticky ? STICKY_BIT : 0;
      const name = (chain: string): string => `${sticky ? 'sticky-' : ''}${chain}`;
      for (const kind of [cluster, clusterLocal]) goto(sets.kinds, kind + bit, name('cluster-ip'));
      goto(sets.kinds, external + bit, name('external'));
      goto(sets.kinds, externalLocal + bit, name('external-local'));
      if (this.#settings.nodePortAddresses !== 'all') continue;
      goto(sets.nodePortKinds, external + bit, `nodeport-${name('external')}`);
      goto(sets.nodePortKinds, externalLocal + bit, `nodeport-${name('external-local')}`);
    }
    verdicts.set(sets.refusals, [
      { key: REFUSAL.reject, value: `goto ${REFUSE_CHAIN}` },
      { key: REFUSAL.drop, value: 'drop' },
    ]);
    for (const way of waysOf(this.#settings)) {
      for (const balancer of standardBalancers(way)) {
        const lead = balancerElement(way, balancer);
        if (lead !== undefined) verdicts.get(sets[lead.by][way])?.push(lead.element);
      }
    }
    return verdicts;
  }

  get #ip(): 'ip' | 'ip6' {
    return this.#family === 4 ? 'ip' : 'ip6';
  }

  #balancerChains(): NftChainChange[] {
    return waysOf(this.#settings).flatMap((way) =>
      standardBalancers(way).map((balancer) =>
        this.#chain(balancerChain(way, balancer), this.#rules.balance(way, balancer)),
      ),
    );
  }

  #dispatchChains(kind: EntryKind): NftChainChange[] {
    const chains = [...this.#kindChains(kind, false), ...this.#kindChains(kind, true)];
    if (kind === 'service') return chains;
    return [
      ...chains,
      this.#chain('nodeports', [this.#rules.dispatchKind('nodeport')]),
      this.#chain('nodeport-endpoints-check', [this.#rules.refuse('nodeport')]),
    ];
  }

  /** What kinds of addresses lead to. */
  #kindChains(kind: EntryKind, sticky: boolean): NftChainChange[] {
    const [way, all] =
      kind === 'service' ? (['lb', 'lb-all'] as const) : (['nodeport', 'nodeport-all'] as const);
    const prefix = `${kind === 'service' ? '' : 'nodeport-'}${sticky ? 'sticky-' : ''}`;
    // Without affinity the chain for small pools comes first, which knows the way to the others.
    const balance = sticky ? `${prefix}balance` : way;
    const shortCircuit = sticky ? `${prefix}short-circuit` : all;
    return [
      ...(sticky
        ? [
            this.#chain(balance, [this.#rules.dispatchAffinity(way)]),
            this.#chain(shortCircuit, [this.#rules.dispatchAffinity(all)]),
          ]
        : []),
      this.#chain(`${prefix}external`, [this.#mark(), [{ statement: 'goto', chain: balance }]]),
      this.#chain(`${prefix}external-local`, [
        ...(this.#local ?? []).map((match): NftRule => [
          ...match,
          { statement: 'goto', chain: shortCircuit },
        ]),
        this.#mark(this.#fromNode()),
        [...this.#fromNode(), { statement: 'goto', chain: shortCircuit }],
        [{ statement: 'goto', chain: balance }],
      ]),
      ...(kind === 'service' ? [this.#chain(`${prefix}cluster-ip`, this.#clusterIp(balance))] : []),
    ];
  }

  #clusterIp(balance: string): NftRule[] {
    const next: NftRule = [{ statement: 'goto', chain: balance }];
    if (this.#settings.masqueradeAll) return [this.#mark(), next];
    if (this.#local === undefined) return [next];
    return [...this.#local.map((match): NftRule => [...match, ...next]), this.#mark(), next];
  }

  #services(): NftRule[] {
    const rules: NftRule[] = [this.#rules.dispatchKind('service')];
    if (this.#settings.nodePortAddresses === 'all') {
      rules.push([...this.#toNode(), { statement: 'jump', chain: 'nodeports' }]);
    }
    return rules;
  }

  #clusterIpsCheck(): NftRule[] {
    const destination = this.#rules.address('destination', 0);
    return [
      [
        destination,
        { match: 'set', set: this.#sets.clusterIps.name, key: 0 },
        { statement: 'goto', chain: REFUSE_CHAIN },
      ],
      ...this.#settings.serviceCidrs
        .filter((cidr) => cidr.family === this.#family)
        .map((cidr): NftRule => [...matchCidr(cidr, destination), { statement: 'drop' }]),
    ];
  }

  #masquerading(): NftRule[] {
    const bit = indexField(2 ** this.#settings.masqueradeBit);
    const none = indexField(0);
    return [
      [
        { load: 'meta', key: 'mark', register: 0 },
        { load: 'bitwise', from: 0, register: 1, mask: bit, xor: none },
        { match: 'bytes', register: 1, operator: '!=', bytes: none },
        { load: 'bitwise', from: 0, register: 0, mask: indexField(0xffffffff), xor: bit },
        { statement: 'set-mark', register: 0 },
        { statement: 'masquerade' },
      ],
      [
        { load: 'ct', key: 'status', register: 0 },
        { load: 'bitwise', from: 0, register: 0, mask: CT_DNAT, xor: none },
        { match: 'bytes', register: 0, operator: '!=', bytes: none },
        ...this.#rules.hairpin(),
        { statement: 'masquerade' },
      ],
    ];
  }

  #firewallChains(): NftChainChange[] {
    return firewallRules(this.#rules, this.#sets, this.#family)
      .map(({ chain, rule }) => this.#chain(chain, [rule]))
      .reverse();
  }

  #hooks(): NftChainChange[] {
    const filter = (name: string, hook: NftHook['hook'], priority: number, rules: readonly NftRule[]) =>
      this.#chain(name, [KNOWN_CONNECTIONS, ...rules], { type: 'filter', hook, priority });
    const nat = (hook: NftHook['hook'], priority: number, chains: readonly string[]) =>
      this.#chain(`nat-${hook}`, chains.map(jump), { type: 'nat', hook, priority });
    const refuse = this.#rules.refuse('service');
    const passing = [refuse, jump('cluster-ips-check')];
    const all = this.#settings.nodePortAddresses === 'all';
    const toNodePorts: NftRule[] = all
      ? [[...this.#toNode(), { statement: 'jump', chain: 'nodeport-endpoints-check' }]]
      : [];
    return [
      filter('filter-input', 'input', HOOKED.filter, [refuse, ...toNodePorts]),
      filter('filter-forward', 'forward', HOOKED.filter, passing),
      filter('filter-output', 'output', HOOKED.filter, passing),
      // Who may come is asked here and not in a filter hook: every packet pays for each of those (1 % of the way between
      // two pods), while these chains see the first packet of a connection alone.
      nat('prerouting', HOOKED.dstnat, ['firewall-check', 'services']),
      nat('output', HOOKED.dstnat, ['firewall-check', 'services']),
      nat('postrouting', HOOKED.srcnat, ['masquerading']),
    ];
  }

  /** Sets the bit that asks for masquerade, if the packet is so. */
  #mark(match: readonly NftExpression[] = []): NftRule {
    const bit = 2 ** this.#settings.masqueradeBit;
    return [
      ...match,
      { load: 'meta', key: 'mark', register: 0 },
      { load: 'bitwise', from: 0, register: 0, mask: indexField(~bit >>> 0), xor: indexField(bit) },
      { statement: 'set-mark', register: 0 },
    ];
  }

  #fromNode(): NftExpression[] {
    return [
      { load: 'fib', of: 'source', register: 0 },
      { match: 'bytes', register: 0, operator: '==', bytes: FIB_LOCAL },
    ];
  }

  /** To an address of the node, loopback apart. */
  #toNode(): NftExpression[] {
    const loopback: NftExpression[] =
      this.#family === 4
        ? [
            this.#rules.address('destination', 0),
            { load: 'bitwise', from: 0, register: 0, mask: '\xff\0\0\0', xor: '\0\0\0\0' },
            { match: 'bytes', register: 0, operator: '!=', bytes: '\x7f\0\0\0' },
          ]
        : [
            this.#rules.address('destination', 0),
            { match: 'bytes', register: 0, operator: '!=', bytes: `${'\0'.repeat(15)}\x01` },
          ];
    return [
      { load: 'fib', of: 'destination', register: 0 },
      { match: 'bytes', register: 0, operator: '==', bytes: FIB_LOCAL },
      ...loopback,
    ];
  }

  #chain(chain: string, rules: readonly NftRule[], hook?: NftHook): NftChainChange {
    const change = { operation: 'write-chain', table: this.#sets.table, chain, rules } as const;
    return hook === undefined ? change : { ...change, hook };
  }
}

const jump = (chain: string): NftRule => [{ statement: 'jump', chain }];

/** All but the first packet of a connection leave after one rule. */
const KNOWN_CONNECTIONS: NftRule = [
  { load: 'ct', key: 'state', register: 0 },
  { match: 'bytes', register: 0, operator: '!=', bytes: CT_NEW },
  { statement: 'accept' },
];
