import type { TableName } from '../../../kernel/iptables/objects.ts';
import type { ConnectionState, IptablesRule, RuleMatch, RuleTarget } from '../../../kernel/iptables/rule.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxySettings } from '../../settings.ts';
import {
  CANARY,
  EXTERNAL_SERVICES,
  FORWARD,
  KUBELET_FIREWALL,
  MARK_MASQ,
  MARK_OFF_CLUSTER,
  NODE_PORTS,
  POSTROUTING,
  PROXY_FIREWALL,
  SERVICES,
} from './chain-names.ts';
import type { LocalCriteria } from './plan.ts';

/** Counters of nfnetlink_acct, as kube-proxy 1.32 and later name them (pkg/proxy/metrics). */
export const INVALID_COUNTER = 'ct_state_invalid_dropped_pkts';
export const LOCALHOST_COUNTER = 'localhost_nps_accepted_pkts';

/** What is true of the node and its kernel. */
export interface NodeFacts {
  readonly randomFully: boolean;
  /** Counters that are there. */
  readonly counters: ReadonlySet<string>;
  /** nf_conntrack_tcp_be_liberal: what connection tracking calls invalid is not dropped then. */
  readonly tcpBeLiberal: boolean;
}

export interface FixedChain {
  readonly table: TableName;
  readonly chain: string;
  /** The rules that it has, those of Services apart. */
  readonly rules: readonly IptablesRule[];
  /** Rules of Services stand here, in any order, before the fixed ones. */
  readonly shared?: boolean;
  /** Somebody else's, too: these rules must be there, others stay. */
  readonly foreign?: boolean;
}

export interface FixedJump {
  readonly table: TableName;
  /** A chain that the kernel has. */
  readonly from: string;
  readonly rule: IptablesRule;
  /** The kubelet has the same: stays when the mode is removed. */
  readonly foreign?: boolean;
}

const jump = (chain: string): RuleTarget => ({ kind: 'jump', chain });
const comment = (text: string): RuleMatch => ({ kind: 'comment', text });
const LAST_RULE = 'kubernetes service nodeports; NOTE: this must be the last rule in this chain';

/** Whether node ports answer on 127.0.0.1: never with IPv6, and only if the kernel may route from there. */
export function servesLocalhost(settings: ProxySettings, family: IpFamily): boolean {
  const { localhostNodePorts, nodePortAddresses } = settings;
  if (family === 6 || !localhostNodePorts) return false;
  return nodePortAddresses === 'all' || nodePortAddresses.some((ip) => ip.toString().startsWith('127.'));
}

/** How traffic of pods is told; several ranges of a family need a chain of their own. */
export function localCriteria(settings: ProxySettings, family: IpFamily): LocalCriteria | undefined {
  const { localTraffic } = settings;
  if (localTraffic.kind === 'none') return undefined;
  if (localTraffic.kind !== 'cidrs') {
    const value = localTraffic.kind === 'bridge' ? localTraffic.device : `${localTraffic.prefix}+`;
    return {
      local: [{ input: { value } }],
      others: { input: { value, not: true } },
      markOthers: MARK_MASQ,
    };
  }
  const ranges = localTraffic.cidrs.filter((cidr) => cidr.family === family).map(String);
  const [first] = ranges;
  if (first === undefined) return undefined;
  const local = ranges.map((value) => ({ source: { value } }));
  if (ranges.length > 1) return { local, others: {}, markOthers: MARK_OFF_CLUSTER };
  return { local, others: { source: { value: first, not: true } }, markOthers: MARK_MASQ };
}

/** Each chain after those that it leads to. */
export function fixedChains(settings: ProxySettings, family: IpFamily, facts: NodeFacts): FixedChain[] {
  const mark = (1 << settings.masqueradeBit) >>> 0;
  const criteria = localCriteria(settings, family);
  const chains: FixedChain[] = [
    { table: 'mangle', chain: CANARY, rules: [] },
    { table: 'filter', chain: CANARY, rules: [] },
    { table: 'filter', chain: KUBELET_FIREWALL, rules: martianRules(settings, family), foreign: true },
    { table: 'filter', chain: FORWARD, rules: forwardRules(mark, facts) },
    ...[SERVICES, EXTERNAL_SERVICES, NODE_PORTS, PROXY_FIREWALL].map(
      (chain) => ({ table: 'filter', chain, rules: [], shared: true }) as const,
    ),
    { table: 'nat', chain: CANARY, rules: [] },
    { table: 'nat', chain: MARK_MASQ, rules: [{ target: { kind: 'mark', value: mark, mask: mark } }] },
    { table: 'nat', chain: POSTROUTING, rules: postroutingRules(mark, facts) },
    { table: 'nat', chain: NODE_PORTS, rules: [], shared: true },
    { table: 'nat', chain: SERVICES, rules: nodePortRules(settings, family), shared: true },
  ];
  if (criteria?.markOthers !== MARK_OFF_CLUSTER) return chains;
  const returns = criteria.local.map((match): IptablesRule => ({
    ...match,
    target: { kind: 'verdict', verdict: 'RETURN' },
  }));
  return [
    ...chains,
    { table: 'nat', chain: MARK_OFF_CLUSTER, rules: [...returns, { target: jump(MARK_MASQ) }] },
  ];
}

/** Jumps from the kernel's chains, each put in front of the ones before it. */
export function fixedJumps(): FixedJump[] {
  const fresh: RuleMatch = { kind: 'conntrack', states: ['NEW'] };
  const external = 'kubernetes externally-visible service portals';
  const portals = 'kubernetes service portals';
  const firewall = 'kubernetes load balancer firewall';
  return [
    filterJump('INPUT', EXTERNAL_SERVICES, external, fresh),
    filterJump('FORWARD', EXTERNAL_SERVICES, external, fresh),
    filterJump('INPUT', NODE_PORTS, 'kubernetes health check service ports'),
    filterJump('FORWARD', SERVICES, portals, fresh),
    filterJump('OUTPUT', SERVICES, portals, fresh),
    filterJump('FORWARD', FORWARD, 'kubernetes forwarding rules'),
    filterJump('INPUT', PROXY_FIREWALL, firewall, fresh),
    filterJump('OUTPUT', PROXY_FIREWALL, firewall, fresh),
    filterJump('FORWARD', PROXY_FIREWALL, firewall, fresh),
    martianJump('INPUT'),
    martianJump('OUTPUT'),
    natJump('OUTPUT', SERVICES, portals),
    natJump('PREROUTING', SERVICES, portals),
    natJump('POSTROUTING', POSTROUTING, 'kubernetes postrouting rules'),
  ];
}

function filterJump(from: string, chain: string, text: string, match?: RuleMatch): FixedJump {
  const matches = [...(match === undefined ? [] : [match]), comment(text)];
  return { table: 'filter', from, rule: { matches, target: jump(chain) } };
}

function natJump(from: string, chain: string, text: string): FixedJump {
  return { table: 'nat', from, rule: { matches: [comment(text)], target: jump(chain) } };
}

function martianJump(from: string): FixedJump {
  return { table: 'filter', from, rule: { target: jump(KUBELET_FIREWALL) }, foreign: true };
}

/** Packets from elsewhere to 127.0.0.0/8, which route_localnet would let in (kubernetes issue 90259). */
function martianRules(settings: ProxySettings, family: IpFamily): IptablesRule[] {
  if (!servesLocalhost(settings, family)) return [];
  const value = '127.0.0.0/8';
  const states: ConnectionState[] = ['RELATED', 'ESTABLISHED', 'DNAT'];
  return [
    {
      source: { value, not: true },
      destination: { value },
      matches: [comment('block incoming localnet connections'), { kind: 'conntrack', states, not: true }],
      target: { kind: 'verdict', verdict: 'DROP' },
    },
  ];
}

function forwardRules(mark: number, facts: NodeFacts): IptablesRule[] {
  const invalid: RuleMatch = { kind: 'conntrack', states: ['INVALID'] };
  const count: RuleMatch[] = facts.counters.has(INVALID_COUNTER)
    ? [{ kind: 'nfacct', counter: INVALID_COUNTER }]
    : [];
  const accept: RuleTarget = { kind: 'verdict', verdict: 'ACCEPT' };
  const known: RuleMatch = { kind: 'conntrack', states: ['RELATED', 'ESTABLISHED'] };
  const drop: IptablesRule = { matches: [invalid, ...count], target: { kind: 'verdict', verdict: 'DROP' } };
  return [
    ...(facts.tcpBeLiberal ? [] : [drop]),
    { matches: [comment('kubernetes forwarding rules'), { kind: 'mark', mark }], target: accept },
    { matches: [comment('kubernetes forwarding conntrack rule'), known], target: accept },
  ];
}

function postroutingRules(mark: number, facts: NodeFacts): IptablesRule[] {
  return [
    { matches: [{ kind: 'mark', mark, not: true }], target: { kind: 'verdict', verdict: 'RETURN' } },
    // Taken off, so that a packet that comes round again (through a tunnel) is not masqueraded twice.
    { target: { kind: 'mark', value: mark, mask: 0 } },
    {
      matches: [comment('kubernetes service traffic requiring SNAT')],
      target: { kind: 'masquerade', randomFully: facts.randomFully },
    },
  ];
}

function nodePortRules(settings: ProxySettings, family: IpFamily): IptablesRule[] {
  const target = jump(NODE_PORTS);
  const localhost = servesLocalhost(settings, family);
  if (settings.nodePortAddresses !== 'all') {
    const addresses = settings.nodePortAddresses.filter((ip) => ip.family === family).map(String);
    return addresses
      .filter((address) => address !== '::1' && (localhost || !address.startsWith('127.')))
      .map((value) => ({ destination: { value }, matches: [comment(LAST_RULE)], target }));
  }
  const value = family === 6 ? '::1/128' : '127.0.0.0/8';
  return [
    {
      ...(localhost ? {} : { destination: { value, not: true } }),
      matches: [comment(LAST_RULE), { kind: 'local-address', of: 'destination' }],
      target,
    },
  ];
}
