import type { IpsetKernel } from '../../../kernel/ipset/objects.ts';
import { serverText, type IpvsKernel } from '../../../kernel/ipvs/objects.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { ProxySettings } from '../../settings.ts';
import { endpointText } from '../../services/endpoint-text.ts';
import type { TracedNode, TracedPacket, Tracer, Verdict } from '../../verdict.ts';
import { setOf, type SetPurpose } from './set-names.ts';

/** What is observed: real kernels or fake ones. */
export interface TracedKernels {
  readonly ipvs: Pick<IpvsKernel, 'virtualServers' | 'realServers'>;
  readonly ipset: Pick<IpsetKernel, 'entries'>;
}

/** A packet, with what is asked of it again and again. */
interface Traced {
  readonly packet: TracedPacket;
  readonly source: string;
  /** `address,tcp:80` of its destination. */
  readonly service: string;
  readonly family: IpFamily;
}

const NODE_PORT_SETS = {
  TCP: ['nodePortTcp', 'nodePortLocalTcp'],
  UDP: ['nodePortUdp', 'nodePortLocalUdp'],
  SCTP: ['nodePortSctp', 'nodePortLocalSctp'],
} as const;

/** What IPVS and the constant rules do with a packet, by the virtual servers and set entries that are there. */
export class IpvsTracer implements Tracer {
  readonly #kernels: TracedKernels;
  readonly #settings: ProxySettings;
  readonly #node: TracedNode;
  readonly #sets = new Map<string, ReadonlySet<string>>();
  readonly #servers: ReadonlySet<string>;

  constructor(kernels: TracedKernels, settings: ProxySettings, node: TracedNode) {
    this.#kernels = kernels;
    this.#settings = settings;
    this.#node = node;
    this.#servers = new Set(kernels.ipvs.virtualServers().map(serverText));
  }

  trace(packet: TracedPacket): Verdict {
    const family = packet.destination.includes(':') ? 6 : 4;
    const bound = this.#set('serviceIps', family).has(packet.destination);
    if (!bound && !this.#node.addresses.includes(packet.destination)) return { kind: 'pass' };
    const fromNode = packet.inputDevice === undefined;
    const { source } = packet;
    const traced: Traced = {
      packet,
      family,
      source,
      service: `${packet.destination},${packet.protocol.toLowerCase()}:${packet.port}`,
    };
    const key = { protocol: packet.protocol, address: packet.destination, port: packet.port };
    const balanced = this.#servers.has(serverText(key));
    if (this.#isDropped(traced, fromNode, balanced)) return { kind: 'drop' };
    if (!balanced) return { kind: bound && !this.#isPassed(traced) ? 'reject' : 'pass' };
    const endpoints = this.#kernels.ipvs.realServers(key).filter(({ weight }) => weight > 0);
    if (endpoints.length === 0) return { kind: 'reject' };
    const marked = this.#isMarked(traced, fromNode);
    const hairpin = ({ address, port }: { address: string; port: number }): boolean =>
      this.#has('loopBack', traced, `${address},${packet.protocol.toLowerCase()}:${port},${traced.source}`);
    const texts = (found: typeof endpoints): string[] =>
      found.map(({ address, port }) => endpointText(address, port)).sort();
    return {
      kind: 'endpoints',
      endpoints: texts(endpoints),
      // What comes in for an endpoint in the node's own network does not leave again.
      masqueraded: texts(
        endpoints.filter(
          (endpoint) =>
            (fromNode || !this.#node.addresses.includes(endpoint.address)) && (marked || hairpin(endpoint)),
        ),
      ),
    };
  }

  /** mangle's KUBE-IPVS-OUT-FILTER for what the node sends; filter's KUBE-IPVS-FILTER and KUBE-PROXY-FIREWALL. */
  #isDropped(traced: Traced, fromNode: boolean, balanced: boolean): boolean {
    if (this.#has('noLocal', traced)) return true;
    // What the node sends is balanced before filter's INPUT could see it.
    if (!(fromNode && balanced) && this.#has('noLocalExternal', traced) && !this.#isLocal(traced))
      return true;
    if (!this.#has('loadBalancerFirewall', traced)) return false;
    return (
      !this.#isInRanges(traced) &&
      !this.#has('loadBalancerSourceIp', traced, `${traced.service},${traced.source}`)
    );
  }

  #isInRanges({ service, source, family }: Traced): boolean {
    const ip = Ip.parse(source);
    return [...this.#set('loadBalancerSourceCidr', family)].some(
      (entry) => entry.startsWith(`${service},`) && Cidr.parse(entry.slice(service.length + 1)).contains(ip),
    );
  }

  /** Not rejected by KUBE-IPVS-FILTER. */
  #isPassed(traced: Traced): boolean {
    const { packet } = traced;
    const purposes = ['loadBalancer', 'clusterIp', 'externalIp', 'externalIpLocal'] as const;
    if (purposes.some((purpose) => this.#has(purpose, traced))) return true;
    return this.#has('healthCheckNodePort', traced, String(packet.port));
  }

  /** nat's KUBE-SERVICES. */
  #isMarked(traced: Traced, fromNode: boolean): boolean {
    const { source, family } = traced;
    const loopback = family === 4 ? source.startsWith('127.') : source === '::1';
    if (loopback) return false;
    const own = fromNode || this.#node.addresses.includes(source);
    if (this.#has('loadBalancer', traced) && (own || !this.#has('loadBalancerLocal', traced))) return true;
    if (this.#has('clusterIp', traced) && this.#isOffCluster(traced, fromNode)) return true;
    if (this.#has('externalIp', traced)) return true;
    if (this.#has('externalIpLocal', traced)) return own;
    return this.#isNodePortMarked(traced, own);
  }

  #isNodePortMarked(traced: Traced, own: boolean): boolean {
    const { packet, service } = traced;
    const [all, local] = NODE_PORT_SETS[packet.protocol];
    const entry = packet.protocol === 'SCTP' ? service : String(packet.port);
    return this.#has(all, traced, entry) && (own || !this.#has(local, traced, entry));
  }

  #isOffCluster(traced: Traced, fromNode: boolean): boolean {
    if (this.#settings.masqueradeAll) return true;
    if (this.#detects(traced.family)) return !this.#isLocal(traced);
    const { packet, source } = traced;
    return (
      fromNode && this.#has('clusterIp', traced, `${source},${packet.protocol.toLowerCase()}:${packet.port}`)
    );
  }

  #detects(family: IpFamily): boolean {
    const { localTraffic } = this.#settings;
    if (localTraffic.kind === 'cidrs') return localTraffic.cidrs.some((cidr) => cidr.family === family);
    return localTraffic.kind !== 'none';
  }

  #isLocal({ packet, source }: Traced): boolean {
    const { localTraffic } = this.#settings;
    switch (localTraffic.kind) {
      case 'none':
        return false;
      case 'cidrs': {
        const ip = Ip.parse(source);
        return localTraffic.cidrs.some((cidr) => cidr.contains(ip));
      }
      case 'bridge':
        return packet.inputDevice === localTraffic.device;
      case 'interface-prefix':
        return packet.inputDevice?.startsWith(localTraffic.prefix) === true;
    }
    return localTraffic satisfies never;
  }

  #has(purpose: SetPurpose, traced: Traced, entry = traced.service): boolean {
    return this.#set(purpose, traced.family).has(entry);
  }

  #set(purpose: SetPurpose, family: IpFamily): ReadonlySet<string> {
    const { name } = setOf(purpose, family);
    let found = this.#sets.get(name);
    if (found === undefined) this.#sets.set(name, (found = new Set(this.#kernels.ipset.entries(name))));
    return found;
  }
}
