import type { IptablesKernel } from '../../../kernel/iptables/objects.ts';
import { parseSave, splitWords, type SavedTable } from '../../../kernel/iptables/save-text.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import { endpointText } from '../../services/endpoint-text.ts';
import type { TracedNode, TracedPacket, Tracer, Verdict } from '../../verdict.ts';
import { ENDPOINT_SETS } from './balancer.ts';
import type { UserspaceFamily } from './family.ts';

type Outcome =
  | { readonly kind: 'dnat'; readonly address: string; readonly port: number }
  | { readonly kind: 'accept' | 'reject' | 'drop' };

/** A rule as it stands in the kernel. */
interface SavedRule {
  readonly criteria: readonly ((packet: Observed) => boolean)[];
  readonly target: string;
  readonly destination: string | undefined;
}

interface Observed {
  readonly source: Ip;
  readonly destination: Ip;
  readonly protocol: string;
  readonly port: number;
  readonly device: string;
  readonly isLocal: boolean;
}

type Chains = ReadonlyMap<string, readonly SavedRule[]>;

/**
 * What becomes of a packet by the rules that are in the kernel now; where they lead it to this process, by what that
 * would do with it.
 */
export class UserspaceTracer implements Tracer {
  readonly #family: UserspaceFamily;
  readonly #nat: Chains;
  readonly #filter: Chains;
  readonly #addresses: ReadonlySet<string>;

  private constructor(family: UserspaceFamily, nat: Chains, filter: Chains, node: TracedNode) {
    this.#family = family;
    this.#nat = nat;
    this.#filter = filter;
    this.#addresses = new Set(node.addresses.map((address) => Ip.parse(address).toString()));
  }

  /** Reads the rules of one family; the tracer does not see what changes afterwards. */
  static async read(
    family: UserspaceFamily,
    node: TracedNode,
    saved: Pick<IptablesKernel, 'save'> = family.iptables,
  ): Promise<UserspaceTracer> {
    const read = async (table: 'nat' | 'filter'): Promise<Chains> =>
      parseChains(parseSave(await saved.save(table)).get(table));
    return new UserspaceTracer(family, await read('nat'), await read('filter'), node);
  }

  trace(packet: TracedPacket): Verdict {
    const destination = Ip.parse(packet.destination);
    const observed: Observed = {
      source: Ip.parse(packet.source),
      destination,
      protocol: packet.protocol.toLowerCase(),
      port: packet.port,
      device: packet.inputDevice ?? '',
      isLocal: this.#isLocal(destination),
    };
    const fromNode = packet.inputDevice === undefined;
    const led = walk(this.#nat, fromNode ? 'OUTPUT' : 'PREROUTING', observed);
    if (led?.kind === 'dnat') return this.#carried(packet, led);
    const hooks = [
      ...(fromNode ? ['OUTPUT'] : []),
      ...(observed.isLocal ? ['INPUT'] : []),
      ...(!fromNode && !observed.isLocal ? ['FORWARD'] : []),
    ];
    for (const hook of hooks) {
      const outcome = walk(this.#filter, hook, observed);
      if (outcome?.kind === 'reject') return { kind: 'reject' };
      if (outcome?.kind === 'drop') return { kind: 'drop' };
    }
    return { kind: 'pass' };
  }

  #carried(packet: TracedPacket, led: { readonly address: string; readonly port: number }): Verdict {
    const { family, fronts, table, address } = this.#family;
    const { protocol } = packet;
    if (fronts === undefined || protocol === 'SCTP' || led.address !== address.toString())
      return { kind: 'reject' };
    const set = ENDPOINT_SETS.find((one) => fronts.ports[protocol][one] === led.port);
    const destination = Ip.parse(packet.destination).toString();
    const served = table.find(protocol, family, destination, packet.port);
    if (set === undefined || served === undefined) return { kind: 'reject' };
    const endpoints = served.balancer
      .endpoints(set)
      .map((endpoint) => endpointText(endpoint.address, endpoint.port))
      .toSorted();
    // The process connects itself: every endpoint sees an address of the node.
    return endpoints.length === 0
      ? { kind: 'reject' }
      : { kind: 'endpoints', endpoints, masqueraded: endpoints };
  }

  #isLocal(ip: Ip): boolean {
    return this.#addresses.has(ip.toString()) || LOOPBACK[ip.family].contains(ip);
  }
}

const LOOPBACK = { 4: Cidr.parse('127.0.0.0/8'), 6: Cidr.parse('::1/128') } as const;

/** The first rule with an end; undefined: the chain has none for this packet. */
function walk(chains: Chains, chain: string, packet: Observed): Outcome | undefined {
  for (const { criteria, target, destination } of chains.get(chain) ?? []) {
    if (!criteria.every((holds) => holds(packet))) continue;
    if (target === 'ACCEPT') return { kind: 'accept' };
    if (target === 'DROP') return { kind: 'drop' };
    if (target === 'REJECT') return { kind: 'reject' };
    if (target === 'RETURN') return undefined;
    if (target === 'DNAT') {
      const end = destination?.lastIndexOf(':') ?? -1;
      const address = destination?.slice(0, end).replace(/^\[|\]$/g, '') ?? '';
      return { kind: 'dnat', address, port: Number(destination?.slice(end + 1)) };
    }
    const outcome = walk(chains, target, packet);
    if (outcome !== undefined) return outcome;
  }
  return undefined;
}

function parseChains(table: SavedTable | undefined): Chains {
  return new Map(
    [...(table ?? [])].map(
      ([chain, rules]) => [chain, rules.map((rule) => parseRule(splitWords(rule)))] as const,
    ),
  );
}

/** Options without a meaning for where a packet goes. */
const IGNORED = new Set(['-m', '--comment', '--reject-with']);

function parseRule(words: readonly string[]): SavedRule {
  const criteria: ((packet: Observed) => boolean)[] = [];
  let target = '';
  let destination: string | undefined;
  for (let at = 0; at < words.length; at += 2) {
    const isNot = words[at] === '!';
    if (isNot) at += 1;
    const [option = '', value = ''] = words.slice(at, at + 2);
    if (option === '-j') target = value;
    else if (option === '--to-destination') destination = value;
    else if (!IGNORED.has(option)) {
      const criterion = parseCriterion(option, value);
      criteria.push(isNot ? (packet) => !criterion(packet) : criterion);
    }
  }
  return { criteria, target, destination };
}

function parseCriterion(option: string, value: string): (packet: Observed) => boolean {
  switch (option) {
    case '-s': {
      const cidr = Cidr.parse(value);
      return ({ source }) => cidr.contains(source);
    }
    case '-d': {
      const cidr = Cidr.parse(value);
      return (packet) => cidr.contains(packet.destination);
    }
    case '-i':
      return ({ device }) => (value.endsWith('+') ? device.startsWith(value.slice(0, -1)) : device === value);
    case '-p':
      return ({ protocol }) => protocol === value;
    case '--dport':
      return ({ port }) => port === Number(value);
    case '--dst-type':
      return ({ isLocal }) => value === 'LOCAL' && isLocal;
    case '--ctstate':
      // The first packet of a connection that no rule has translated.
      return () => value.split(',').includes('NEW');
    default:
      throw new TypeError(`a rule of userspace mode has no "${option}"`);
  }
}
