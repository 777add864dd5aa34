import type { IptablesRule, RuleMatch } from '../../../kernel/iptables/rule.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { NodePortAddresses } from '../../settings.ts';
import { ENDPOINT_SETS, type EndpointSet } from './balancer.ts';
import { CHAINS } from './chains.ts';
import { rejection, type FrontPorts, type PlacedRule, type RuleContext } from './rules.ts';

/** A rule in a chain of the kernel's own, which leads to one of this mode's. */
export interface Jump {
  readonly table: 'nat' | 'filter';
  readonly chain: 'PREROUTING' | 'OUTPUT' | 'INPUT' | 'FORWARD';
  /** In front of what is there, or behind it. */
  readonly place: 'prepend' | 'append';
  readonly rule: IptablesRule;
}

export interface JumpOptions {
  readonly family: IpFamily;
  readonly nodePortAddresses: NodePortAddresses;
  readonly localhostNodePorts: boolean;
}

const PORTALS = 'handle ClusterIPs; NOTE: this must be before the NodePort rules';
const NODE_PORTS = 'handle service NodePorts; NOTE: this must be the last rule in the chain';
const NON_LOCAL = 'Ensure that non-local NodePort traffic can flow';
const REFUSED = 'service portals without endpoints';

/** Node ports come last: they match a port on whatever address is local, and a load balancer's may be. */
export function jumpsOf(options: JumpOptions): Jump[] {
  const nodePorts = (table: Jump['table'], chain: Jump['chain'], to: string): Jump[] =>
    nodePortMatches(options).map((match) => ({
      table,
      chain,
      place: 'append',
      rule: {
        ...match,
        matches: [...(match.matches ?? []), { kind: 'comment', text: NODE_PORTS }],
        target: { kind: 'jump', chain: to },
      },
    }));
  const jump = (table: Jump['table'], chain: Jump['chain'], text: string, to: string): Jump => ({
    table,
    chain,
    place: 'prepend',
    rule: { matches: [{ kind: 'comment', text }], target: { kind: 'jump', chain: to } },
  });
  return [
    jump('nat', 'PREROUTING', PORTALS, CHAINS.portalsContainer),
    jump('nat', 'OUTPUT', PORTALS, CHAINS.portalsHost),
    ...nodePorts('nat', 'PREROUTING', CHAINS.nodePortContainer),
    ...nodePorts('nat', 'OUTPUT', CHAINS.nodePortHost),
    jump('filter', 'INPUT', NON_LOCAL, CHAINS.nonLocal),
    jump('filter', 'INPUT', REFUSED, CHAINS.portalsFirewall),
    jump('filter', 'FORWARD', REFUSED, CHAINS.portalsFirewall),
    jump('filter', 'OUTPUT', REFUSED, CHAINS.portalsFirewall),
    // What goes to an address of the node comes by here, the node's own packets too.
    ...nodePorts('filter', 'INPUT', CHAINS.nodePortFirewall),
  ];
}

/** Where node ports answer. ::1 never: what comes in by another device cannot be answered from there. */
function nodePortMatches({ family, nodePortAddresses, localhostNodePorts }: JumpOptions): IptablesRule[] {
  const local: RuleMatch = { kind: 'local-address', of: 'destination' };
  if (nodePortAddresses !== 'all') {
    return nodePortAddresses
      .filter((ip) => ip.family === family)
      .map((ip) => ({ destination: { value: ip.toString() } }));
  }
  if (family === 4 && localhostNodePorts) return [{ matches: [local] }];
  const loopback = family === 4 ? '127.0.0.0/8' : '::1/128';
  return [{ destination: { value: loopback, not: true }, matches: [local] }];
}

const FRONT_COMMENT = /^proxy port, (TCP|UDP), (all|local) endpoints$/;

/** Only what rules led to the ports of the proxy may come in there; this also where a firewall lets nothing in. */
export function guardRules({ address, ports }: RuleContext): PlacedRule[] {
  return (['TCP', 'UDP'] as const).flatMap((protocol) =>
    ENDPOINT_SETS.flatMap((set) => {
      const common = {
        destination: { value: address.toString() },
        protocol: protocol.toLowerCase() as Lowercase<typeof protocol>,
      };
      const comment: RuleMatch = { kind: 'comment', text: `proxy port, ${protocol}, ${set} endpoints` };
      const front: RuleMatch = { kind: 'transport', port: ports[protocol][set] };
      const led: RuleMatch = { kind: 'conntrack', states: ['DNAT'] };
      const rules: IptablesRule[] = [
        { ...common, matches: [comment, led, front], target: { kind: 'verdict', verdict: 'ACCEPT' } },
        { ...common, matches: [comment, front], target: rejection(protocol) },
      ];
      return rules.map((rule) => ({ table: 'filter', chain: CHAINS.nonLocal, rule }) as const);
    }),
  );
}

export interface FoundPort {
  readonly protocol: keyof FrontPorts;
  readonly set: EndpointSet;
  readonly address: string;
  readonly port: number;
}

/** Which ports an earlier process had, by a guard rule's words. */
export function readGuardRule(words: readonly string[]): FoundPort | undefined {
  const after = (option: string): string | undefined => words[words.indexOf(option) + 1];
  const match = FRONT_COMMENT.exec(words.includes('--comment') ? (after('--comment') ?? '') : '');
  const port = words.includes('--dport') ? Number(after('--dport')) : Number.NaN;
  const address = words.includes('-d') ? (after('-d') ?? '').replace(/\/\d+$/, '') : '';
  if (match === null || address === '' || !Number.isInteger(port)) return undefined;
  return { protocol: match[1] as FoundPort['protocol'], set: match[2] as EndpointSet, address, port };
}
