import type { TableName } from '../../../kernel/iptables/objects.ts';
import type { IptablesRule, RuleMatch, RuleTarget, TransportName } from '../../../kernel/iptables/rule.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxySettings } from '../../settings.ts';
import { commentOf, setOf, type SetPurpose } from './set-names.ts';

/** Under these names the iptables mode has chains, too. */
export const SHARED_CHAINS: ReadonlySet<string> = new Set([
  'nat KUBE-SERVICES',
  'nat KUBE-POSTROUTING',
  'nat KUBE-MARK-MASQ',
  'nat KUBE-MARK-OFFCLUSTER',
  'filter KUBE-FORWARD',
  'filter KUBE-PROXY-FIREWALL',
]);

type Place = Pick<RuleChain, 'table' | 'chain'>;

/** All chains that the mode has with any settings, each before those that it leads to. */
export const OWN_CHAINS: readonly Place[] = (
  [
    ['mangle', 'KUBE-IPVS-OUT-FILTER'],
    ['mangle', 'KUBE-SOURCE-RANGES-FIREWALL'],
    ['filter', 'KUBE-IPVS-FILTER'],
    ['filter', 'KUBE-NO-LOCAL-EXTERNAL'],
    ['filter', 'KUBE-PROXY-FIREWALL'],
    ['filter', 'KUBE-SOURCE-RANGES-FIREWALL'],
    ['filter', 'KUBE-NODE-PORT'],
    ['filter', 'KUBE-FORWARD'],
    ['nat', 'KUBE-POSTROUTING'],
    ['nat', 'KUBE-SERVICES'],
    ['nat', 'KUBE-NODE-PORT'],
    ['nat', 'KUBE-LOAD-BALANCER'],
    ['nat', 'KUBE-MARK-OFFCLUSTER'],
    ['nat', 'KUBE-MARK-MASQ'],
  ] as const
).map(([table, chain]) => ({ table, chain }));

/** kube-proxy's (1.36; the second one up to 1.25) where this mode has none, or has it in another table. */
export const FORMER_CHAINS: readonly Place[] = [
  { table: 'filter', chain: 'KUBE-IPVS-OUT-FILTER' },
  { table: 'nat', chain: 'KUBE-FIREWALL' },
];

export interface RuleChain {
  readonly table: TableName;
  readonly chain: string;
  readonly rules: readonly IptablesRule[];
}

export interface RuleJump {
  readonly table: TableName;
  /** A chain that the kernel has. */
  readonly from: string;
  readonly rule: IptablesRule;
}

type Direction = 'src' | 'dst';

const RETURN: RuleTarget = { kind: 'verdict', verdict: 'RETURN' };
const ACCEPT: RuleTarget = { kind: 'verdict', verdict: 'ACCEPT' };
const DROP: RuleTarget = { kind: 'verdict', verdict: 'DROP' };
const FROM_NODE: RuleMatch = { kind: 'local-address', of: 'source' };
const TO_NODE: RuleMatch = { kind: 'local-address', of: 'destination' };
const jump = (chain: string): RuleTarget => ({ kind: 'jump', chain });
const comment = (text: string): RuleMatch => ({ kind: 'comment', text });

/** Jumps from the kernel's chains, each put in front of the ones before it, with kube-proxy's comments. */
export const RULE_JUMPS: readonly RuleJump[] = (
  [
    ['nat', 'OUTPUT', 'KUBE-SERVICES', 'kubernetes service portals'],
    ['nat', 'PREROUTING', 'KUBE-SERVICES', 'kubernetes service portals'],
    ['nat', 'POSTROUTING', 'KUBE-POSTROUTING', 'kubernetes postrouting rules'],
    ['filter', 'FORWARD', 'KUBE-FORWARD', 'kubernetes forwarding rules'],
    ['filter', 'INPUT', 'KUBE-NODE-PORT', 'kubernetes health check rules'],
    // Unlike kube-proxy's, before the firewall is put in front: who is not admitted is not told anything.
    ['filter', 'INPUT', 'KUBE-IPVS-FILTER', 'kubernetes ipvs access filter'],
    ['filter', 'INPUT', 'KUBE-PROXY-FIREWALL', 'kube-proxy firewall rules'],
    ['filter', 'FORWARD', 'KUBE-PROXY-FIREWALL', 'kube-proxy firewall rules'],
    ['mangle', 'OUTPUT', 'KUBE-IPVS-OUT-FILTER', 'kubernetes ipvs access filter'],
  ] as const
).map(([table, from, to, text]) => ({
  table,
  from,
  rule: { matches: [comment(text)], target: jump(to) },
}));

/**
 * The constant rules of one family, as kube-proxy 1.36 writes them (pkg/proxy/ipvs/proxier.go, writeIptablesRules), each
 * chain after those that it leads to. Different on purpose: rules stand there with empty sets too; what the node sends
 * is filtered in mangle's OUTPUT by sets, as IPVS has it before filter's OUTPUT, where kube-proxy has a rule for each
 * load balancer; what the node itself sends to an address of externalTrafficPolicy Local is masqueraded, as its
 * source would be the Service's own address; traffic that the policy admits no endpoint for is dropped, as other modes
 * do, where kube-proxy's ipvs mode lets it go to nodes whose answers cannot come back.
 */
export function ruleChains(settings: ProxySettings, family: IpFamily, randomFully: boolean): RuleChain[] {
  const mark = 2 ** settings.masqueradeBit;
  const marked = (not: boolean): RuleMatch => ({ kind: 'mark', mark, ...(not ? { not } : {}) });
  const masquerade: RuleTarget = { kind: 'masquerade', randomFully };
  const offCluster = offClusterRules(settings, family);
  const firewall = sourceRangeRules(family);
  const outside = outsideRules(settings, family);
  return [
    { table: 'nat', chain: 'KUBE-MARK-MASQ', rules: [{ target: { kind: 'mark', value: mark, mask: mark } }] },
    ...(offCluster.chain === undefined ? [] : [offCluster.chain]),
    { table: 'nat', chain: 'KUBE-LOAD-BALANCER', rules: loadBalancerRules(family) },
    { table: 'nat', chain: 'KUBE-NODE-PORT', rules: nodePortRules(family) },
    { table: 'nat', chain: 'KUBE-SERVICES', rules: serviceRules(family, offCluster.rules) },
    {
      table: 'nat',
      chain: 'KUBE-POSTROUTING',
      rules: [
        named('loopBack', family, ['dst', 'dst', 'src'], { kind: 'masquerade', randomFully: false }),
        { matches: [marked(true)], target: RETURN },
        // So that a packet that passes again is not masqueraded again.
        { target: { kind: 'mark', value: mark, mask: 0 } },
        { matches: [comment('kubernetes service traffic requiring SNAT')], target: masquerade },
      ],
    },
    {
      table: 'filter',
      chain: 'KUBE-FORWARD',
      rules: [
        { matches: [comment('kubernetes forwarding rules'), marked(false)], target: ACCEPT },
        {
          matches: [
            comment('kubernetes forwarding conntrack rule'),
            { kind: 'conntrack', states: ['RELATED', 'ESTABLISHED'] },
          ],
          target: ACCEPT,
        },
      ],
    },
    {
      table: 'filter',
      chain: 'KUBE-NODE-PORT',
      rules: [named('healthCheckNodePort', family, ['dst'], ACCEPT)],
    },
    { table: 'filter', chain: 'KUBE-SOURCE-RANGES-FIREWALL', rules: firewall },
    { table: 'filter', chain: 'KUBE-PROXY-FIREWALL', rules: [firewallJump(family)] },
    { table: 'filter', chain: 'KUBE-NO-LOCAL-EXTERNAL', rules: outside },
    { table: 'filter', chain: 'KUBE-IPVS-FILTER', rules: accessRules(family) },
    { table: 'mangle', chain: 'KUBE-SOURCE-RANGES-FIREWALL', rules: firewall },
    {
      table: 'mangle',
      chain: 'KUBE-IPVS-OUT-FILTER',
      rules: [named('noLocal', family, ['dst', 'dst'], DROP), firewallJump(family)],
    },
  ];
}

/** A rule for what is in a set. */
function named(
  purpose: SetPurpose,
  family: IpFamily,
  of: readonly Direction[],
  target: RuleTarget,
  more: { readonly matches?: readonly RuleMatch[]; readonly protocol?: TransportName } = {},
): IptablesRule {
  const { matches = [], ...rest } = more;
  return { ...rest, matches: [comment(commentOf(purpose)), inSet(purpose, family, of), ...matches], target };
}

function inSet(purpose: SetPurpose, family: IpFamily, of: readonly Direction[]): RuleMatch {
  return { kind: 'set', set: setOf(purpose, family).name, of };
}

function serviceRules(family: IpFamily, offCluster: readonly IptablesRule[]): IptablesRule[] {
  const both: readonly Direction[] = ['dst', 'dst'];
  return [
    { source: { value: family === 4 ? '127.0.0.0/8' : '::1/128' }, target: RETURN },
    named('loadBalancer', family, both, jump('KUBE-LOAD-BALANCER')),
    ...offCluster,
    named('externalIp', family, both, jump('KUBE-MARK-MASQ')),
    named('externalIp', family, both, ACCEPT, { matches: [TO_NODE] }),
    named('externalIpLocal', family, both, jump('KUBE-MARK-MASQ'), { matches: [FROM_NODE] }),
    named('externalIpLocal', family, both, ACCEPT, { matches: [TO_NODE] }),
    { matches: [TO_NODE], target: jump('KUBE-NODE-PORT') },
    { matches: [inSet('clusterIp', family, both)], target: ACCEPT },
    { matches: [inSet('loadBalancer', family, both)], target: ACCEPT },
  ];
}

/** What calls a ClusterIP and is masqueraded for where it comes from. */
function offClusterRules(
  settings: ProxySettings,
  family: IpFamily,
): { rules: IptablesRule[]; chain?: RuleChain } {
  const mark = jump('KUBE-MARK-MASQ');
  if (settings.masqueradeAll) return { rules: [named('clusterIp', family, ['dst', 'dst'], mark)] };
  const local = localTrafficRules(settings, family, RETURN);
  if (local.length === 0) {
    // The node's own traffic has the Service's address as its source, which no other node could answer.
    return { rules: [named('clusterIp', family, ['src', 'dst'], mark)] };
  }
  const [only, ...others] = local;
  if (only !== undefined && others.length === 0) {
    const rule = named('clusterIp', family, ['dst', 'dst'], mark);
    const { source, input } = only;
    const outside = {
      ...(source === undefined ? {} : { source: { ...source, not: true } }),
      ...(input === undefined ? {} : { input: { ...input, not: true } }),
    };
    return { rules: [{ ...outside, ...rule }] };
  }
  const chain = 'KUBE-MARK-OFFCLUSTER';
  return {
    rules: [named('clusterIp', family, ['dst', 'dst'], jump(chain))],
    chain: { table: 'nat', chain, rules: [...local, { target: mark }] },
  };
}

/** A rule for each way in which traffic of this node's pods is told; none where it is not told. */
function localTrafficRules(
  { localTraffic }: ProxySettings,
  family: IpFamily,
  target: RuleTarget,
): IptablesRule[] {
  switch (localTraffic.kind) {
    case 'none':
      return [];
    case 'cidrs':
      return localTraffic.cidrs
        .filter((cidr) => cidr.family === family)
        .map((cidr) => ({ source: { value: cidr.toString() }, target }));
    case 'bridge':
      return [{ input: { value: localTraffic.device }, target }];
    case 'interface-prefix':
      return [{ input: { value: `${localTraffic.prefix}+` }, target }];
  }
  return localTraffic satisfies never;
}

function outsideRules(settings: ProxySettings, family: IpFamily): IptablesRule[] {
  return [...localTrafficRules(settings, family, RETURN), { target: DROP }];
}

function loadBalancerRules(family: IpFamily): IptablesRule[] {
  const both: readonly Direction[] = ['dst', 'dst'];
  return [
    named('loadBalancerLocal', family, both, jump('KUBE-MARK-MASQ'), { matches: [FROM_NODE] }),
    named('loadBalancerLocal', family, both, RETURN),
    { target: jump('KUBE-MARK-MASQ') },
  ];
}

function nodePortRules(family: IpFamily): IptablesRule[] {
  const mark = jump('KUBE-MARK-MASQ');
  return (
    [
      ['tcp', 'nodePortLocalTcp', 'nodePortTcp', ['dst']],
      ['udp', 'nodePortLocalUdp', 'nodePortUdp', ['dst']],
      ['sctp', 'nodePortLocalSctp', 'nodePortSctp', ['dst', 'dst']],
    ] as const
  ).flatMap(([protocol, local, all, of]) => [
    named(local, family, of, mark, { protocol, matches: [FROM_NODE] }),
    named(local, family, of, RETURN, { protocol }),
    named(all, family, of, mark, { protocol }),
  ]);
}

function firewallJump(family: IpFamily): IptablesRule {
  return named('loadBalancerFirewall', family, ['dst', 'dst'], jump('KUBE-SOURCE-RANGES-FIREWALL'));
}

function sourceRangeRules(family: IpFamily): IptablesRule[] {
  return [
    named('loadBalancerSourceCidr', family, ['dst', 'dst', 'src'], RETURN),
    named('loadBalancerSourceIp', family, ['dst', 'dst', 'src'], RETURN),
    { target: DROP },
  ];
}

/**
 * Nothing but Services answers on their addresses: not what listens on all addresses of the node. TCP is refused by
 * reset: IPVS, without real servers, answers by ICMP, which a client in IPv6 makes nothing of for a second.
 */
function accessRules(family: IpFamily): IptablesRule[] {
  const passed = ['loadBalancer', 'clusterIp', 'externalIp', 'externalIpLocal'] as const;
  const fresh: RuleMatch = { kind: 'conntrack', states: ['NEW'] };
  const refuse = (purpose: SetPurpose, of: readonly Direction[]): IptablesRule[] => {
    // Connections to real servers that terminate go on.
    const matches = [fresh, inSet(purpose, family, of)];
    const reset: IptablesRule = { protocol: 'tcp', matches, target: { kind: 'reject', with: 'tcp-reset' } };
    return [reset, { matches, target: { kind: 'reject' } }];
  };
  return [
    named('noLocal', family, ['dst', 'dst'], DROP),
    named('noLocalExternal', family, ['dst', 'dst'], jump('KUBE-NO-LOCAL-EXTERNAL')),
    ...refuse('noEndpoints', ['dst', 'dst']),
    ...passed.map((purpose) => ({ matches: [inSet(purpose, family, ['dst', 'dst'])], target: RETURN })),
    { matches: [inSet('healthCheckNodePort', family, ['dst'])], target: RETURN },
    ...refuse('serviceIps', ['dst']),
  ];
}
