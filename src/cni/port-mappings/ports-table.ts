import { createHash } from 'node:crypto';
import type { NftExpression, NftRule } from '../../kernel/nft/expression.ts';
import { addressField, endpointData, indexField, portField, protocolField } from '../../kernel/nft/field.ts';
import type {
  NftChainChange,
  NftChange,
  NftElement,
  NftHook,
  NftSet,
  NftTable,
} from '../../kernel/nft/objects.ts';
import type { IpFamily } from '../../net/ip.ts';
import type { HostPort } from './host-port.ts';

// The rules are the same whatever is mapped; what is mapped stands in elements of maps, as in the service proxy's
// tables. Services come before host ports, as with kube-proxy and portmap, whose chain is called behind kube-proxy's;
// masquerading comes before that of others, again as with portmap.
const PRIORITY = { dstnat: -99, srcnat: 99, filter: 0 } as const;
/** IPS_DST_NAT of <linux/netfilter/nf_conntrack_common.h>. */
const CT_DNAT = indexField(0x20);
const NONE = indexField(0);
/** RTN_LOCAL of <linux/rtnetlink.h>. */
const FIB_LOCAL = indexField(2);
const LOOPBACK = '\x7f\0\0\0';
const LOOPBACK_MASK = '\xff\0\0\0';

export interface PortSets {
  readonly table: NftTable;
  /** Host address, protocol and port to the pod's address and port. */
  readonly bound: NftSet;
  /** Protocol and port, at every address of the node. */
  readonly anywhere: NftSet;
  /** Sources and pods between which the node must stand in for the source, else the answer would not come back by it. */
  readonly hairpins: NftSet;
}

export function portSets(family: IpFamily): PortSets {
  const table = { family: family === 4 ? 'ip' : 'ip6', name: 'flatnet-hostports' } as const;
  return {
    table,
    bound: { table, name: 'host-ip-ports', kind: 'map' },
    anywhere: { table, name: 'host-ports', kind: 'map' },
    hairpins: { table, name: 'hairpins', kind: 'set' },
  };
}

export const allSets = (sets: PortSets): NftSet[] => [sets.bound, sets.anywhere, sets.hairpins];

/** Elements of one port, by their set. */
export function elementsOf(port: HostPort, sets: PortSets): { set: NftSet; element: NftElement }[] {
  const { hostIp, podIp } = port;
  const key = protocolField(port.protocol) + portField(port.hostPort);
  const value = endpointData(podIp, port.podPort);
  const pod = addressField(podIp);
  return [
    hostIp === undefined
      ? { set: sets.anywhere, element: { key, value } }
      : { set: sets.bound, element: { key: addressField(hostIp) + key, value } },
    { set: sets.hairpins, element: { key: pod + pod } },
    // Of the node's loopback; only IPv4 packets of 127.0.0.0/8 can leave the loopback device at all.
    ...(port.family === 4 ? [{ set: sets.hairpins, element: { key: LOOPBACK + pod } }] : []),
  ];
}

const nat = (hook: NftHook['hook'], priority: number): NftHook => ({ type: 'nat', hook, priority });

export interface PortsTable {
  /** Name of an empty chain that tells which rules are loaded. */
  readonly marker: string;
  readonly chains: readonly NftChainChange[];
}

export function planPortsTable(family: IpFamily, sets: PortSets): PortsTable {
  const rules = new PortRules(family, sets);
  const chain = (name: string, list: readonly NftRule[], hook?: NftHook): NftChainChange => ({
    operation: 'write-chain',
    table: sets.table,
    chain: name,
    rules: list,
    ...(hook === undefined ? {} : { hook }),
  });
  const chains = [
    chain('host-ports', rules.translate()),
    chain('prerouting', [rules.toNode()], nat('prerouting', PRIORITY.dstnat)),
    chain('output', [rules.toNode()], nat('output', PRIORITY.dstnat)),
    chain('postrouting', rules.masquerade(), nat('postrouting', PRIORITY.srcnat)),
    ...(family === 4
      ? [
          chain('input', [rules.guardLoopback()], {
            type: 'filter',
            hook: 'input',
            priority: PRIORITY.filter,
          }),
        ]
      : []),
  ];
  const hash = createHash('sha256').update(JSON.stringify(chains)).digest('hex').slice(0, 12);
  return { marker: `ruleset-v1-${hash}`, chains };
}

/** The whole table in place of whatever has its name. */
export function createPortsTable(
  plan: PortsTable,
  sets: PortSets,
  family: IpFamily,
  elements: readonly NftChange[],
): NftChange[] {
  const { table } = sets;
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const data = [address, 'inet_service'] as const;
  return [
    { operation: 'add-table', table },
    { operation: 'delete-table', table },
    { operation: 'add-table', table },
    { operation: 'add-set', set: sets.bound, type: { key: [address, 'inet_proto', 'inet_service'], data } },
    { operation: 'add-set', set: sets.anywhere, type: { key: ['inet_proto', 'inet_service'], data } },
    { operation: 'add-set', set: sets.hairpins, type: { key: [address, address] } },
    ...plan.chains,
    { operation: 'write-chain', table, chain: plan.marker, rules: [] },
    ...elements,
  ];
}

/** Each comment is how nft lists the rule. */
class PortRules {
  readonly #family: IpFamily;
  readonly #sets: PortSets;
  /** Registers that an address takes. */
  readonly #width: number;

  constructor(family: IpFamily, sets: PortSets) {
    this.#family = family;
    this.#sets = sets;
    this.#width = family === 4 ? 1 : 4;
  }

  /** `dnat to ip daddr . meta l4proto . th dport map @host-ip-ports`, `… meta l4proto . th dport map @host-ports`. */
  translate(): NftRule[] {
    const bound = this.#width;
    return [
      [
        this.#address('destination', 0),
        ...this.#port(bound),
        ...this.#dnat(this.#sets.bound.name, bound + 2),
      ],
      [...this.#port(0), ...this.#dnat(this.#sets.anywhere.name, 2)],
    ];
  }

  /** `fib daddr type local jump host-ports`. */
  toNode(): NftRule {
    return [
      { load: 'fib', of: 'destination', register: 0 },
      { match: 'bytes', register: 0, operator: '==', bytes: FIB_LOCAL },
      { statement: 'jump', chain: 'host-ports' },
    ];
  }

  /** `ct status dnat ip saddr . ip daddr @hairpins masquerade`, and with `ip saddr & 255.0.0.0`. */
  masquerade(): NftRule[] {
    const source = this.#address('source', 0);
    const loopback: NftExpression = {
      load: 'bitwise',
      from: 0,
      register: 0,
      mask: LOOPBACK_MASK,
      xor: '\0\0\0\0',
    };
    const rule = (...sender: NftExpression[]): NftRule => [
      ...translated('!='),
      ...sender,
      this.#address('destination', this.#width),
      { match: 'set', set: this.#sets.hairpins.name, key: 0 },
      { statement: 'masquerade' },
    ];
    return [rule(source), ...(this.#family === 4 ? [rule(source, loopback)] : [])];
  }

  /**
   * `ip daddr 127.0.0.0/8 fib saddr type != local ct status ! dnat drop`: route_localnet, without which answers to the
   * node's loopback could not come back, would also let neighbours reach what listens there (kubernetes issue 90259).
   */
  guardLoopback(): NftRule {
    return [
      this.#address('destination', 0),
      { load: 'bitwise', from: 0, register: 0, mask: LOOPBACK_MASK, xor: '\0\0\0\0' },
      { match: 'bytes', register: 0, operator: '==', bytes: LOOPBACK },
      { load: 'fib', of: 'source', register: 0 },
      { match: 'bytes', register: 0, operator: '!=', bytes: FIB_LOCAL },
      ...translated('=='),
      { statement: 'drop' },
    ];
  }

  #address(of: 'source' | 'destination', register: number): NftExpression {
    const [offset, length] =
      this.#family === 4 ? [of === 'source' ? 12 : 16, 4] : [of === 'source' ? 8 : 24, 16];
    return { load: 'payload', base: 'network', offset, length, register };
  }

  /** Protocol and destination port, which TCP, UDP and SCTP have at the same place. */
  #port(register: number): NftExpression[] {
    return [
      { load: 'meta', key: 'l4proto', register },
      { load: 'payload', base: 'transport', offset: 2, length: 2, register: register + 1 },
    ];
  }

  #dnat(map: string, register: number): NftExpression[] {
    const family = this.#family === 4 ? 'ip' : 'ip6';
    return [
      { load: 'map', map, key: 0, register },
      { statement: 'dnat', family, address: register, port: register + this.#width },
    ];
  }
}

/** Whether the connection's destination has been translated (`!=`) or not (`==`). */
const translated = (operator: '==' | '!='): NftExpression[] => [
  { load: 'ct', key: 'status', register: 8 },
  { load: 'bitwise', from: 8, register: 8, mask: CT_DNAT, xor: NONE },
  { match: 'bytes', register: 8, operator, bytes: NONE },
];
