import type { IptablesRule, RuleMatch, RuleTarget } from '../../../kernel/iptables/rule.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { ServicePort } from '../../services/service-port.ts';
import type { LocalTraffic } from '../../settings.ts';
import type { EndpointSet } from './balancer.ts';
import { CHAINS, type FilterChain, type NatChain } from './chains.ts';
import type { Entry } from './entries.ts';

export interface PlacedRule {
  readonly table: 'nat' | 'filter';
  readonly chain: NatChain | FilterChain;
  readonly rule: IptablesRule;
}

/** Ports of this process by the protocol and by whose endpoints they lead to. */
export type FrontPorts = Readonly<Record<'TCP' | 'UDP', Readonly<Record<EndpointSet, number>>>>;

/** What rules of one family depend on, beside the service port. */
export interface RuleContext {
  readonly family: IpFamily;
  readonly nodeIps: readonly Ip[];
  readonly localTraffic: LocalTraffic;
  /** Where the ports of this process are. */
  readonly address: Ip;
  readonly ports: FrontPorts;
}

interface Match {
  readonly source?: Cidr;
  /** `-i`: a device's name, or its beginning and `+`. */
  readonly device?: string;
}

/** Everything one entry of a service port needs: in one chain the order of rules matters. */
export function entryRules(port: ServicePort, entry: Entry, context: RuleContext): PlacedRule[] {
  const sources = entry.kind === 'load-balancer' ? allowedSources(port, context) : [{}];
  const rules: PlacedRule[] = [];
  const lead = (chain: NatChain, matches: readonly Match[], set: EndpointSet): void => {
    if ((set === 'all' ? port.endpoints : port.localEndpoints).length === 0) return;
    for (const match of matches) {
      const target = leadTo(port, set, context);
      rules.push({ table: 'nat', chain, rule: ruleFor(port, entry, match, target) });
    }
  };
  const [fromOthers, fromNode] =
    entry.kind === 'node'
      ? ([CHAINS.nodePortContainer, CHAINS.nodePortHost] as const)
      : ([CHAINS.portalsContainer, CHAINS.portalsHost] as const);
  if (entry.kind === 'cluster') {
    const set = port.internalLocal ? 'local' : 'all';
    lead(fromOthers, sources, set);
    lead(fromNode, sources, set);
  } else {
    if (port.externalLocal) {
      lead(fromOthers, fromPods(sources, context.localTraffic, context.family), 'all');
      lead(fromOthers, sources, 'local');
    } else {
      lead(fromOthers, sources, 'all');
    }
    lead(fromNode, sources, 'all');
  }
  const refusal = refusalOf(port, entry);
  if (refusal !== undefined) {
    const chain = entry.kind === 'node' ? CHAINS.nodePortFirewall : CHAINS.portalsFirewall;
    rules.push({ table: 'filter', chain, rule: ruleFor(port, entry, {}, refusal) });
  }
  return rules;
}

/** What becomes of packets that no rule of the nat table took. */
function refusalOf(port: ServicePort, entry: Entry): RuleTarget | undefined {
  if (!port.hasEndpoints) return rejection(port.protocol);
  const set = (entry.kind === 'cluster' ? port.internalLocal : port.externalLocal)
    ? port.localEndpoints
    : port.endpoints;
  const guarded = entry.kind === 'load-balancer' && port.sourceRanges !== undefined;
  return set.length === 0 || guarded ? { kind: 'verdict', verdict: 'DROP' } : undefined;
}

/** A reset: at an ICMP error a client on the node itself tries again for a second before it gives up. */
export function rejection(protocol: ServicePort['protocol']): RuleTarget {
  return protocol === 'TCP' ? { kind: 'reject', with: 'tcp-reset' } : { kind: 'reject' };
}

function leadTo(port: ServicePort, set: EndpointSet, { address, ports }: RuleContext): RuleTarget {
  const front = ports[port.protocol === 'UDP' ? 'UDP' : 'TCP'][set];
  return { kind: 'dnat', address: address.toString(), port: front };
}

function ruleFor(port: ServicePort, entry: Entry, match: Match, target: RuleTarget): IptablesRule {
  const matches: RuleMatch[] = [
    { kind: 'comment', text: commentOf(port) },
    { kind: 'transport', port: entry.port },
  ];
  return {
    ...(match.source === undefined ? {} : { source: { value: match.source.toString() } }),
    ...(entry.address === undefined ? {} : { destination: { value: entry.address } }),
    ...(match.device === undefined ? {} : { input: { value: match.device } }),
    protocol: port.protocol.toLowerCase() as Lowercase<ServicePort['protocol']>,
    matches,
    target,
  };
}

/** As everywhere in Kubernetes: `namespace/name`, with the port's name where it has one. */
function commentOf({ service, portName }: ServicePort): string {
  return portName === '' ? service : `${service}:${portName}`;
}

/**
 * Who may use the load balancer's addresses. A node that may reaches a VIP that stands on one of its own devices with
 * the VIP as its source (kube-proxy, allowFromNode).
 */
function allowedSources(port: ServicePort, { nodeIps }: RuleContext): Match[] {
  if (port.sourceRanges === undefined) return [{}];
  const ranges = port.sourceRanges
    .map((range) => Cidr.parse(range))
    .filter((range) => range.family === port.family);
  const nodeMay = ranges.some((range) => nodeIps.some((ip) => range.contains(ip)));
  const own = nodeMay
    ? port.loadBalancerIps.map((ip) => new Cidr(Ip.parse(ip), port.family === 4 ? 32 : 128))
    : [];
  return unique([...ranges, ...own]).map(anywhereOrFrom);
}

/** iptables prints no `-s` for 0.0.0.0/0. */
function anywhereOrFrom(source: Cidr): Match {
  return source.prefixLength === 0 ? {} : { source };
}

function unique(ranges: readonly Cidr[]): Cidr[] {
  return [...new Map(ranges.map((range) => [range.toString(), range])).values()];
}

/** Those sources as far as they are pods of this node. */
function fromPods(sources: readonly Match[], local: LocalTraffic, family: IpFamily): Match[] {
  if (local.kind === 'none') return [];
  if (local.kind === 'bridge') return sources.map((source) => ({ ...source, device: local.device }));
  if (local.kind === 'interface-prefix') {
    return sources.map((source) => ({ ...source, device: `${local.prefix}+` }));
  }
  return local.cidrs
    .filter((cidr) => cidr.family === family)
    .flatMap((cidr) => sources.flatMap(({ source }) => intersection(cidr, source)).map(anywhereOrFrom));
}

/** A match has one source: of two prefixes, the longer one if it lies in the other. */
function intersection(cidr: Cidr, source: Cidr | undefined): Cidr[] {
  if (source === undefined || source.contains(cidr)) return [cidr];
  return cidr.contains(source) ? [source] : [];
}
