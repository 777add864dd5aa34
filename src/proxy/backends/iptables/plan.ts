import type { TableName } from '../../../kernel/iptables/objects.ts';
import type {
  Criterion,
  IptablesRule,
  RuleMatch,
  RuleTarget,
  TransportName,
} from '../../../kernel/iptables/rule.ts';
import { Cidr } from '../../../net/cidr.ts';
import type { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import { endpointText } from '../../services/endpoint-text.ts';
import {
  EXTERNAL_SERVICES,
  MARK_MASQ,
  NODE_PORTS,
  portChains,
  portText,
  PROXY_FIREWALL,
  SERVICES,
  type PortChains,
} from './chain-names.ts';
import { entryKey, nodePortKey } from './entry-keys.ts';
import { LOCALHOST_COUNTER } from './fixed-rules.ts';

/** How traffic of this node's pods is told, for one family; undefined: not at all. */
export interface LocalCriteria {
  /** Matches packets of pods; one rule for each. */
  readonly local: readonly Partial<Pick<IptablesRule, 'source' | 'input'>>[];
  /** Matches all others, and where that leads. */
  readonly others: Partial<Pick<IptablesRule, 'source' | 'input'>>;
  readonly markOthers: string;
}

export interface PlanSettings {
  readonly masqueradeAll: boolean;
  readonly localTraffic: LocalCriteria | undefined;
  readonly nodeIp: Ip | undefined;
  /** Whether to count what comes to node ports on 127.0.0.1. */
  readonly countLocalhost: boolean;
  /** Leaves comments out where there is one for each endpoint. */
  readonly large: boolean;
}

/** A rule in a chain that all Services share. */
export interface SharedRule {
  readonly table: TableName;
  readonly chain: string;
  readonly rule: IptablesRule;
}

export interface PortPlan {
  /** Chains of the nat table, each after those that it leads to. */
  readonly chains: Map<string, readonly IptablesRule[]>;
  readonly shared: readonly SharedRule[];
}

const jump = (chain: string): RuleTarget => ({ kind: 'jump', chain });
const verdict = (name: 'ACCEPT' | 'DROP' | 'RETURN'): RuleTarget => ({ kind: 'verdict', verdict: name });
const comment = (text: string): RuleMatch => ({ kind: 'comment', text });
// The same for every endpoint, of which there may be a hundred thousand.
const TO_MARK_MASQ = jump(MARK_MASQ);
const ANY_PORT: RuleMatch = { kind: 'transport' };
const NO_MATCHES: readonly RuleMatch[] = [];
const ONLY_ANY_PORT: readonly RuleMatch[] = [ANY_PORT];
const CHANCES: (readonly RuleMatch[])[] = [];

/** What a service port needs, as kube-proxy 1.36 writes it. `denied`: entries that another service port has. */
export function planPort(port: ServicePort, denied: ReadonlySet<string>, settings: PlanSettings): PortPlan {
  return new PortPlanner(port, denied, settings).plan();
}

class PortPlanner {
  readonly #port: ServicePort;
  readonly #denied: ReadonlySet<string>;
  readonly #settings: PlanSettings;
  readonly #name: string;
  readonly #protocol: TransportName;
  readonly #names: PortChains;
  readonly #chains = new Map<string, readonly IptablesRule[]>();
  readonly #shared: SharedRule[] = [];
  readonly #hasInternal: boolean;
  readonly #hasExternal: boolean;

  constructor(port: ServicePort, denied: ReadonlySet<string>, settings: PlanSettings) {
    this.#port = port;
    this.#denied = denied;
    this.#settings = settings;
    this.#name = portText(port);
    this.#protocol = port.protocol.toLowerCase() as TransportName;
    this.#names = portChains(this.#name, this.#protocol);
    const usable = (local: boolean): boolean =>
      port.hasEndpoints && (local ? port.localEndpoints : port.endpoints).length > 0;
    this.#hasInternal = usable(port.internalLocal);
    this.#hasExternal = usable(port.externalLocal);
  }

  plan(): PortPlan {
    this.#endpointChains();
    this.#policyChain(this.#names.cluster, this.#port.endpoints, !this.#port.internalLocal);
    this.#policyChain(this.#names.local, this.#port.localEndpoints, this.#port.internalLocal);
    this.#externalChain();
    this.#firewallChain();
    this.#clusterIp();
    for (const address of this.#port.externalIps) this.#external(address, 'external IP', false);
    for (const address of this.#port.loadBalancerIps) {
      this.#external(address, 'loadbalancer IP', this.#port.sourceRanges !== undefined);
    }
    this.#nodePort();
    return { chains: this.#chains, shared: this.#shared };
  }

  #endpointChains(): void {
    const { endpoints, localEndpoints, affinitySeconds, hasEndpoints } = this.#port;
    if (!hasEndpoints) return;
    for (const { address, port } of endpoints.length === 0
      ? localEndpoints
      : [...endpoints, ...localEndpoints]) {
      const chain = this.#names.endpoint(endpointText(address, port));
      if (this.#chains.has(chain)) continue;
      const about = this.#comments(this.#name);
      const remember: readonly RuleMatch[] =
        affinitySeconds > 0 ? [{ kind: 'recent-set', list: chain }] : NO_MATCHES;
      const all = about.length + remember.length;
      this.#chains.set(chain, [
        { source: { value: address }, matches: about, target: TO_MARK_MASQ },
        {
          protocol: this.#protocol,
          matches: all === 0 ? ONLY_ANY_PORT : [...about, ...remember, ANY_PORT],
          target: { kind: 'dnat', address, port },
        },
      ]);
    }
  }

  /** Spreads connections over endpoints; `internal`: the ClusterIP leads here too. */
  #policyChain(chain: string, endpoints: readonly ServiceEndpoint[], internal: boolean): void {
    if (endpoints.length === 0 || !this.#port.hasEndpoints) return;
    const rules: IptablesRule[] = internal ? this.#masqueradeInternal() : [];
    const chainOf = endpoints.map(({ address, port }) => this.#names.endpoint(endpointText(address, port)));
    const about = endpoints.map(({ address, port }) =>
      this.#comments(`${this.#name} -> ${endpointText(address, port)}`),
    );
    const seconds = this.#port.affinitySeconds;
    if (seconds > 0) {
      for (const [index, list] of chainOf.entries()) {
        const known: RuleMatch = { kind: 'recent-check', list, seconds };
        rules.push({ matches: [...(about[index] ?? []), known], target: jump(list) });
      }
    }
    for (const [index, endpoint] of chainOf.entries()) {
      const outOf = endpoints.length - index;
      const chance = chanceOf(outOf);
      const matches = about[index]?.length ? [...about[index], ...chance] : chance;
      rules.push({ matches, target: jump(endpoint) });
    }
    this.#chains.set(chain, rules);
  }

  #masqueradeInternal(): IptablesRule[] {
    const { masqueradeAll, localTraffic } = this.#settings;
    const packets = this.#to(this.#port.address, this.#port.port, `${this.#name} cluster IP`);
    if (masqueradeAll) return [{ ...packets, target: jump(MARK_MASQ) }];
    if (localTraffic === undefined) return [];
    return [{ ...localTraffic.others, ...packets, target: jump(localTraffic.markOthers) }];
  }

  #externalChain(): void {
    const { hasEndpoints, externalLocal, nodePort, externalIps, loadBalancerIps, endpoints } = this.#port;
    if (!hasEndpoints || nodePort + externalIps.length + loadBalancerIps.length === 0) return;
    const about = (what: string): RuleMatch[] => [comment(`${what} for ${this.#name} external destinations`)];
    const { cluster, local, external } = this.#names;
    const rules: IptablesRule[] = [];
    if (externalLocal) {
      const here: RuleMatch = { kind: 'local-address', of: 'source' };
      if (endpoints.length > 0) {
        for (const criterion of this.#settings.localTraffic?.local ?? []) {
          rules.push({ ...criterion, matches: about('pod traffic'), target: jump(cluster) });
        }
        rules.push({ matches: [...about('masquerade LOCAL traffic'), here], target: jump(MARK_MASQ) });
        rules.push({ matches: [...about('route LOCAL traffic'), here], target: jump(cluster) });
      }
    } else {
      rules.push({ matches: about('masquerade traffic'), target: jump(MARK_MASQ) });
    }
    if (this.#hasExternal) rules.push({ target: jump(externalLocal ? local : cluster) });
    this.#chains.set(external, rules);
  }

  #firewallChain(): void {
    const { hasEndpoints, loadBalancerIps, sourceRanges } = this.#port;
    if (!hasEndpoints || loadBalancerIps.length === 0 || sourceRanges === undefined) return;
    const { nodeIp } = this.#settings;
    const fromNode = sourceRanges.some((range) => nodeIp !== undefined && Cidr.parse(range).contains(nodeIp));
    // A load balancer's address that is also one of the node's: what the node sends there comes from it, too.
    const sources = fromNode ? [...sourceRanges, ...loadBalancerIps] : sourceRanges;
    const rules: IptablesRule[] = sources.map((value) => ({
      source: { value },
      matches: [comment(`${this.#name} loadbalancer IP`)],
      target: jump(this.#names.external),
    }));
    const end = `other traffic to ${this.#name} will be dropped by ${PROXY_FIREWALL}`;
    this.#chains.set(this.#names.firewall, [...rules, { matches: [comment(end)] }]);
  }

  #clusterIp(): void {
    const { address, port, internalLocal } = this.#port;
    if (this.#denied.has(entryKey(address, this.#protocol, port))) return;
    if (this.#hasInternal) {
      const packets = this.#to(address, port, `${this.#name} cluster IP`);
      const chain = internalLocal ? this.#names.local : this.#names.cluster;
      this.#share('nat', SERVICES, { ...packets, target: jump(chain) });
    } else {
      this.#share('filter', SERVICES, { ...this.#to(address, port, this.#why()), target: this.#refusal() });
    }
  }

  #external(address: string, what: string, guarded: boolean): void {
    const { port, hasEndpoints } = this.#port;
    if (this.#denied.has(entryKey(address, this.#protocol, port))) return;
    const { external, firewall } = this.#names;
    if (hasEndpoints) {
      const packets = this.#to(address, port, `${this.#name} ${what}`);
      this.#share('nat', SERVICES, { ...packets, target: jump(guarded ? firewall : external) });
      const others = this.#to(address, port, `${this.#name} traffic not accepted by ${firewall}`);
      if (guarded) this.#share('filter', PROXY_FIREWALL, { ...others, target: verdict('DROP') });
    }
    if (!this.#hasExternal) {
      const packets = this.#to(address, port, this.#why());
      this.#share('filter', EXTERNAL_SERVICES, { ...packets, target: this.#refusal() });
    }
  }

  #nodePort(): void {
    const { nodePort, hasEndpoints, healthCheckNodePort } = this.#port;
    const protocol = this.#protocol;
    if (nodePort !== 0 && !this.#denied.has(nodePortKey(protocol, nodePort))) {
      const transport: RuleMatch = { kind: 'transport', port: nodePort };
      const matches: readonly RuleMatch[] = [comment(this.#name), transport];
      const target = jump(this.#names.external);
      if (hasEndpoints && this.#settings.countLocalhost) {
        const destination: Criterion = { value: '127.0.0.0/8' };
        const counted: RuleMatch[] = [...matches, { kind: 'nfacct', counter: LOCALHOST_COUNTER }];
        this.#share('nat', NODE_PORTS, { destination, protocol, matches: counted, target });
      }
      if (hasEndpoints) this.#share('nat', NODE_PORTS, { protocol, matches, target });
      if (!this.#hasExternal) {
        const here: RuleMatch = { kind: 'local-address', of: 'destination' };
        const refused = [comment(this.#why()), here, transport];
        this.#share('filter', EXTERNAL_SERVICES, { protocol, matches: refused, target: this.#refusal() });
      }
    }
    if (healthCheckNodePort !== 0) {
      const about = comment(`${this.#name} health check node port`);
      const matches: RuleMatch[] = [about, { kind: 'transport', port: healthCheckNodePort }];
      this.#share('filter', NODE_PORTS, { protocol: 'tcp', matches, target: verdict('ACCEPT') });
    }
  }

  #to(address: string, port: number, about: string): IptablesRule {
    return {
      destination: { value: address },
      protocol: this.#protocol,
      matches: [comment(about), { kind: 'transport', port }],
    };
  }

  #share(table: TableName, chain: string, rule: IptablesRule): void {
    this.#shared.push({ table, chain, rule });
  }

  #comments(text: string): readonly RuleMatch[] {
    return this.#settings.large ? NO_MATCHES : [comment(text)];
  }

  #why(): string {
    return `${this.#name} has no ${this.#port.hasEndpoints ? 'local ' : ''}endpoints`;
  }

  #refusal(): RuleTarget {
    const { hasEndpoints, family, protocol } = this.#port;
    if (hasEndpoints) return verdict('DROP');
    // ICMPv6 comes while a client of this machine is still within connect(), and is then heeded a second later only.
    return family === 6 && protocol === 'TCP' ? { kind: 'reject', with: 'tcp-reset' } : { kind: 'reject' };
  }
}

/** The match that has one of `outOf` packets; the last endpoint takes all that come to it. */
function chanceOf(outOf: number): readonly RuleMatch[] {
  if (outOf <= 1) return NO_MATCHES;
  return (CHANCES[outOf] ??= [{ kind: 'statistic', outOf }]);
}
