import { createHash } from 'node:crypto';
import type { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import { FIXED_CHAINS } from './fixed-chain.ts';
import type { ProxySets } from './sets.ts';

// The rules never change with the Services: what differs from Service to Service stands in the elements of maps.
// A connection to a service address finds in @service-ips its number of endpoints, by that in @balancers the chain
// (lb-3) that all Services with as many share, and that chain draws a number and looks up `address . protocol . port
// . number` in @endpoints. What nft's language can say is here; the chains that look things up, and the shared ones,
// which are made when first needed, are in shared-chain.ts and fixed-chain.ts.
//
// Why not a verdict map from Service to chain, as kube-proxy has it: whenever such a map gets an element, the kernel
// walks all its elements (nft_lookup_validate), 1 ms for 10,000 Services.

const REFUSE_CHAIN = 'refuse';
const MARKER_PREFIX = 'ruleset-';

/** Part of the marker: count up when rules outside this file change, so that existing chains are written anew. */
const CHAIN_FORMAT = 1;

/**
 * A set that the packet path fills must have a bound. kube-proxy's is 65,535 clients of each service port; here all
 * share one set, of some 30 MB of kernel memory when full.
 */
const AFFINITY_SIZE = 262_144;

export interface RulesetOptions {
  readonly family: IpFamily;
  readonly clusterCidrs: readonly Cidr[];
  readonly serviceCidrs: readonly Cidr[];
  readonly masqueradeAll: boolean;
  readonly masqueradeBit: number;
}

export interface Ruleset {
  /** Name of an empty chain that tells which rules are loaded. */
  readonly marker: string;
  /** How many rules each chain has that is written here. */
  readonly ruleCounts: ReadonlyMap<string, number>;
  /** What `nft -f` is given. Over an older ruleset it replaces the rules and keeps elements and shared chains. */
  readonly text: string;
}

/** What a table that is there has in it, by name. */
interface ExistingTable {
  readonly chains: readonly string[];
  readonly sets: readonly string[];
}

/** `existing`: undefined when there is no table. */
export function buildRuleset(
  options: RulesetOptions,
  sets: ProxySets,
  existing: ExistingTable | undefined,
): Ruleset {
  const writer = new RulesetWriter(options, sets);
  const commands = writer.chains();
  const base = commands.join('\n');
  const hash = createHash('sha256').update(`${CHAIN_FORMAT}\n${base}`).digest('hex').slice(0, 12);
  const marker = `${MARKER_PREFIX}${hash}`;
  const old = (existing?.chains ?? []).filter((name) => name.startsWith(MARKER_PREFIX) && name !== marker);
  const lines = [
    `add table ${writer.tableName}`,
    // Only those that are missing: nft 1.0 reads sets back less exactly than it wrote them, and would refuse them as
    // different.
    ...writer.sets(existing?.sets ?? []),
    base,
    ...old.map((name) => `delete chain ${writer.tableName} ${name}`),
    `add chain ${writer.tableName} ${marker}`,
  ];
  return { marker, ruleCounts: countRules(commands), text: `${lines.join('\n')}\n` };
}

function countRules(commands: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const command of commands) {
    const chain = /^add rule \S+ \S+ (\S+)/.exec(command)?.[1];
    if (chain !== undefined) counts.set(chain, (counts.get(chain) ?? 0) + 1);
  }
  return counts;
}

class RulesetWriter {
  readonly tableName: string;
  readonly #ip: string;
  readonly #options: RulesetOptions;
  readonly #sets: ProxySets;
  readonly #mark: string;

  constructor(options: RulesetOptions, sets: ProxySets) {
    this.#options = options;
    this.#sets = sets;
    this.#ip = sets.table.family;
    this.tableName = `${sets.table.family} ${sets.table.name}`;
    this.#mark = `0x${(2 ** options.masqueradeBit).toString(16).padStart(8, '0')}`;
  }

  sets(existing: readonly string[]): string[] {
    const address = this.#options.family === 4 ? 'ipv4_addr' : 'ipv6_addr';
    const port = 'inet_proto . inet_service';
    const endpoint = `${address} . inet_service`;
    const sets = this.#sets;
    // Numbers that are drawn or counted have no type that nft could name; `mark` is as wide, in the same byte order.
    const definitions: readonly (readonly [string, string])[] = [
      [sets.serviceIps.name, `type ${address} . ${port} : mark;`],
      [sets.serviceNodePorts.name, `type ${port} : mark;`],
      [sets.balancers.name, 'type mark : verdict;'],
      [sets.nodePortBalancers.name, 'type mark : verdict;'],
      [sets.endpoints.name, `type ${address} . ${port} . mark : ${endpoint};`],
      [sets.nodePortEndpoints.name, `type ${port} . mark : ${endpoint};`],
      [sets.noEndpointServices.name, `type ${address} . ${port};`],
      [sets.noEndpointNodePorts.name, `type ${port};`],
      [sets.clusterIps.name, `type ${address};`],
      [sets.nodePortIps.name, `type ${address};`],
      [sets.hairpins.name, `type ${address} . ${address};`],
      [sets.affinityServices.name, `type ${address} . ${port} : mark;`],
      [sets.affinityNodePorts.name, `type ${port} : mark;`],
      [sets.learners.name, 'type mark : verdict;'],
      [
        sets.affinity.name,
        `type ${address} . ${address} . ${port} : ${endpoint}; size ${AFFINITY_SIZE}; flags dynamic,timeout;`,
      ],
    ];
    return definitions.flatMap(([name, body]) => {
      const word = body.includes(' : ') ? 'map' : 'set';
      return existing.includes(name) ? [] : [`add ${word} ${this.tableName} ${name} { ${body} }`];
    });
  }

  chains(): string[] {
    return [
      ...FIXED_CHAINS.map((name) => `add chain ${this.tableName} ${name}`),
      // kube-proxy answers TCP with ICMP too; but a socket of the node itself does not hear that while it is still
      // connecting, and ICMP is rate-limited: either way the client waits for a second or more.
      ...this.#chain(REFUSE_CHAIN, ['meta l4proto tcp reject with tcp reset', 'reject']),
      ...this.#checkChains(),
      ...this.#filterHooks(),
      ...this.#natChains(),
    ];
  }

  #checkChains(): string[] {
    const ip = this.#ip;
    const { noEndpointServices, noEndpointNodePorts, nodePortIps, clusterIps } = this.#sets;
    return [
      ...this.#chain('service-endpoints-check', [
        `${ip} daddr . meta l4proto . th dport @${noEndpointServices.name} goto ${REFUSE_CHAIN}`,
      ]),
      ...this.#chain('nodeport-endpoints-check', [
        `${ip} daddr @${nodePortIps.name} meta l4proto . th dport @${noEndpointNodePorts.name} goto ${REFUSE_CHAIN}`,
      ]),
      ...this.#chain('cluster-ips-check', [
        `${ip} daddr @${clusterIps.name} goto ${REFUSE_CHAIN} comment "no such port of a ClusterIP"`,
        ...this.#ofFamily(this.#options.serviceCidrs).map(
          (cidr) => `${ip} daddr ${cidr} drop comment "no Service has this address"`,
        ),
      ]),
    ];
  }

  #filterHooks(): string[] {
    const hook = (name: string, targets: readonly string[]): string[] =>
      this.#chain(
        `filter-${name}`,
        // All but the first packet of a connection leave after one rule.
        ['ct state != new accept', ...targets],
        `type filter hook ${name} priority filter; policy accept;`,
      );
    const toNodePort = `${this.#ip} daddr @${this.#sets.nodePortIps.name}`;
    const originalNodePort = `ct original ${toNodePort}`;
    // After DNAT, when the packet's destination is the endpoint.
    const learn = [
      'ct status dnat jump learn-services',
      `ct status dnat ${originalNodePort} jump learn-nodeports`,
    ];
    const passing = ['jump service-endpoints-check', 'jump cluster-ips-check', ...learn];
    return [
      ...hook('input', ['jump nodeport-endpoints-check', 'jump service-endpoints-check', ...learn]),
      ...hook('forward', passing),
      ...hook('output', passing),
    ];
  }

  #natChains(): string[] {
    const ip = this.#ip;
    const { nodePortIps, hairpins } = this.#sets;
    const mark = this.#mark;
    return [
      ...this.#chain('services', [
        ...this.#masqueradeClusterIps(),
        'jump balance-services',
        `${ip} daddr @${nodePortIps.name} jump balance-nodeports`,
      ]),
      ...this.#chain('masquerading', [
        `meta mark & ${mark} != 0 meta mark set meta mark ^ ${mark} masquerade fully-random`,
        `ct status dnat ${ip} saddr . ${ip} daddr @${hairpins.name} masquerade fully-random`,
      ]),
      ...this.#natHook('prerouting', 'dstnat', 'services'),
      ...this.#natHook('output', '-100', 'services'),
      ...this.#natHook('postrouting', 'srcnat', 'masquerading'),
    ];
  }

  #masqueradeClusterIps(): string[] {
    const ip = this.#ip;
    const toClusterIp = `${ip} daddr @${this.#sets.clusterIps.name}`;
    const mark = `meta mark set meta mark | ${this.#mark}`;
    if (this.#options.masqueradeAll) return [`${toClusterIp} ${mark}`];
    const cidrs = this.#ofFamily(this.#options.clusterCidrs);
    if (cidrs.length === 0) return [];
    return [`${toClusterIp} ${ip} saddr != { ${cidrs.join(', ')} } ${mark}`];
  }

  #natHook(hook: string, priority: string, target: string): string[] {
    return this.#chain(
      `nat-${hook}`,
      [`jump ${target}`],
      `type nat hook ${hook} priority ${priority}; policy accept;`,
    );
  }

  #ofFamily(cidrs: readonly Cidr[]): string[] {
    return cidrs.filter((cidr) => cidr.family === this.#options.family).map((cidr) => cidr.toString());
  }

  #chain(name: string, rules: readonly string[], hook?: string): string[] {
    const head = `${this.tableName} ${name}`;
    return [
      `add chain ${head}${hook === undefined ? '' : ` { ${hook} }`}`,
      `flush chain ${head}`,
      ...rules.map((rule) => `add rule ${head} ${rule}`),
    ];
  }
}
