import { createHash } from 'node:crypto';
import type { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxySets } from './sets.ts';

// The rules never change with the Services: what differs from Service to Service stands in the elements of maps.
// A connection to a service address finds in @service-ips the chain for its number of endpoints (lb-3), and that
// chain, shared by all Services with as many, draws a number and looks up `address . protocol . port . number` in
// @endpoints. The shared chains are made when first needed (shared-chain.ts); all else is here.

const REJECT_CHAIN = 'reject-chain';
export const REJECT_VERDICT = `goto ${REJECT_CHAIN}`;
const MARKER_PREFIX = 'ruleset-';

/** Part of the marker: count up when the rules of shared chains change, so that existing ones are written anew. */
const SHARED_CHAIN_FORMAT = 1;

/** kube-proxy's bound too: a set that the packet path fills must have one. */
const AFFINITY_SIZE = 65_535;

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
  /** What `nft -f` is given. Over an older ruleset it replaces the rules and keeps elements and shared chains. */
  readonly text: string;
}

/** `existing`: the chains that the table has, undefined when there is no table. */
export function buildRuleset(
  options: RulesetOptions,
  sets: ProxySets,
  existing: readonly string[] | undefined,
): Ruleset {
  const writer = new RulesetWriter(options, sets);
  const base = writer.chains().join('\n');
  const hash = createHash('sha256').update(`${SHARED_CHAIN_FORMAT}\n${base}`).digest('hex').slice(0, 12);
  const marker = `${MARKER_PREFIX}${hash}`;
  const old = (existing ?? []).filter((name) => name.startsWith(MARKER_PREFIX) && name !== marker);
  const lines = [
    `add table ${writer.tableName}`,
    // nft 1.0 reads sets back less exactly than it wrote them, and would refuse them as different.
    ...(existing === undefined ? writer.sets() : []),
    base,
    ...old.map((name) => `delete chain ${writer.tableName} ${name}`),
    `add chain ${writer.tableName} ${marker}`,
  ];
  return { marker, text: `${lines.join('\n')}\n` };
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

  sets(): string[] {
    const address = this.#options.family === 4 ? 'ipv4_addr' : 'ipv6_addr';
    const port = 'inet_proto . inet_service';
    const endpoint = `${address} . inet_service`;
    const sets = this.#sets;
    // A drawn number has no type that nft could name; `mark` is as wide and in the same byte order.
    const definitions: readonly (readonly [string, string])[] = [
      [sets.serviceIps.name, `type ${address} . ${port} : verdict;`],
      [sets.serviceNodePorts.name, `type ${port} : verdict;`],
      [sets.endpoints.name, `type ${address} . ${port} . mark : ${endpoint};`],
      [sets.nodePortEndpoints.name, `type ${port} . mark : ${endpoint};`],
      [sets.noEndpointServices.name, `type ${address} . ${port} : verdict;`],
      [sets.noEndpointNodePorts.name, `type ${port} : verdict;`],
      [sets.clusterIps.name, `type ${address};`],
      [sets.nodePortIps.name, `type ${address};`],
      [sets.hairpins.name, `type ${address} . ${address};`],
      [sets.affinityServices.name, `type ${address} . ${port} : verdict;`],
      [sets.affinityNodePorts.name, `type ${port} : verdict;`],
      [
        sets.affinity.name,
        `type ${address} . ${address} . ${port} : ${endpoint}; size ${AFFINITY_SIZE}; flags dynamic,timeout;`,
      ],
    ];
    return definitions.map(([name, body]) => {
      const word = body.includes(' : ') ? 'map' : 'set';
      return `add ${word} ${this.tableName} ${name} { ${body} }`;
    });
  }

  chains(): string[] {
    return [
      ...this.#chain(REJECT_CHAIN, ['reject']),
      ...this.#checkChains(),
      ...this.#learningChain(),
      ...this.#filterHooks(),
      ...this.#natChains(),
    ];
  }

  #checkChains(): string[] {
    const ip = this.#ip;
    const { noEndpointServices, noEndpointNodePorts, nodePortIps, clusterIps } = this.#sets;
    return [
      ...this.#chain('service-endpoints-check', [
        `${ip} daddr . meta l4proto . th dport vmap @${noEndpointServices.name}`,
      ]),
      ...this.#chain('nodeport-endpoints-check', [
        `${ip} daddr @${nodePortIps.name} meta l4proto . th dport vmap @${noEndpointNodePorts.name}`,
      ]),
      ...this.#chain('cluster-ips-check', [
        `${ip} daddr @${clusterIps.name} reject comment "no such port of a ClusterIP"`,
        ...this.#ofFamily(this.#options.serviceCidrs).map(
          (cidr) => `${ip} daddr ${cidr} drop comment "no Service has this address"`,
        ),
      ]),
    ];
  }

  /** Entered after DNAT, when the packet's destination is the endpoint. */
  #learningChain(): string[] {
    const ip = this.#ip;
    const { affinityServices, affinityNodePorts, nodePortIps } = this.#sets;
    const port = 'meta l4proto . ct original proto-dst';
    // One rule per protocol: without one nft does not know what `proto-dst` is.
    return this.#chain(
      'affinity-learning',
      ['tcp', 'udp', 'sctp'].flatMap((protocol) => [
        `meta l4proto ${protocol} ct original ${ip} daddr . ${port} vmap @${affinityServices.name}`,
        `meta l4proto ${protocol} ct original ${ip} daddr @${nodePortIps.name} ${port} vmap @${affinityNodePorts.name}`,
      ]),
    );
  }

  #filterHooks(): string[] {
    const hook = (name: string, targets: readonly string[]): string[] =>
      this.#chain(
        `filter-${name}`,
        targets.map((target) => `ct state new ${target}`),
        `type filter hook ${name} priority filter; policy accept;`,
      );
    const learn = 'ct status dnat jump affinity-learning';
    const passing = ['jump service-endpoints-check', 'jump cluster-ips-check', learn];
    return [
      ...hook('input', ['jump nodeport-endpoints-check', 'jump service-endpoints-check', learn]),
      ...hook('forward', passing),
      ...hook('output', passing),
    ];
  }

  #natChains(): string[] {
    const ip = this.#ip;
    const { serviceIps, serviceNodePorts, nodePortIps, hairpins } = this.#sets;
    const mark = this.#mark;
    return [
      ...this.#chain('services', [
        ...this.#masqueradeClusterIps(),
        `${ip} daddr . meta l4proto . th dport vmap @${serviceIps.name}`,
        `${ip} daddr @${nodePortIps.name} meta l4proto . th dport vmap @${serviceNodePorts.name}`,
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
