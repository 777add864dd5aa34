import { addressField, FieldReader, portField, protocolNumber } from '../../../kernel/nft/field.ts';
import type { NftRule } from '../../../kernel/nft/expression.ts';
import type { NftKernel, NftSet } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxySettings } from '../../settings.ts';
import { endpointText } from '../../services/endpoint-text.ts';
import type { TracedNode, TracedPacket, Tracer, Verdict } from '../../verdict.ts';
import { isStandard, parseBalancerChain } from './balancer.ts';
import { LookupRules } from './lookup-rule.ts';
import { RuleWalk, type RuleSource, type WalkedPacket, type WalkOutcome } from './rule-walk.ts';
import { proxySets, setTypes } from './sets.ts';
import { planChains } from './table-plan.ts';

/** What of the kernel a trace needs; `NftKernel` has it. */
type ObservedKernel = Pick<NftKernel, 'elements' | 'chains' | 'ruleCounts'>;

/**
 * What becomes of a packet, by the elements, the chains and the numbers of rules that the kernel holds at the moment of
 * construction. What the rules of a chain say is taken from the table's plan: chains with another number of rules are
 * none of ours, and count as empty.
 */
export class NftablesTracer implements Tracer {
  readonly #walks: ReadonlyMap<IpFamily, RuleWalk>;
  readonly #local: ReadonlySet<string>;

  constructor(kernel: ObservedKernel, settings: ProxySettings, node: TracedNode) {
    this.#local = new Set(node.addresses.map(addressField));
    this.#walks = new Map(
      settings.families.map((family) => {
        const source = new ObservedTable(kernel, settings, family, this.#local);
        return [family, new RuleWalk(source)] as const;
      }),
    );
  }

  trace(packet: TracedPacket): Verdict {
    const walk = this.#walks.get(packet.destination.includes(':') ? 6 : 4);
    if (walk === undefined) return { kind: 'pass' };
    const first = toWalked(packet);
    const early = packet.inputDevice === undefined ? 'output' : 'prerouting';
    const endpoints = new Map<string, boolean>();
    for (const outcome of distinct(walk.walk(`nat-${early}`, first))) {
      if (outcome.kind === 'drop') return { kind: 'drop' };
      if (outcome.kind !== 'dnat') {
        // No draw at all finds an endpoint: one that finds none while others do would be a mistake, and is told too.
        const mark = outcome.kind === 'end' ? outcome.mark : first.mark;
        return this.#filter(walk, { ...first, mark }, packet);
      }
      const sent = translate(first, outcome);
      const filtered = this.#filter(walk, sent, packet);
      if (filtered.kind !== 'pass') return filtered;
      // What comes in for the node itself does not leave it.
      const leaves = packet.inputDevice === undefined || !this.#local.has(sent.destination);
      const late = leaves ? walk.walk('nat-postrouting', sent) : [];
      const masquerade = late.some(({ kind }) => kind === 'masquerade');
      const text = textOf(outcome);
      endpoints.set(text, masquerade || endpoints.get(text) === true);
    }
    const all = [...endpoints.keys()].sort();
    return { kind: 'endpoints', endpoints: all, masqueraded: all.filter((text) => endpoints.get(text)) };
  }

  /** The filter hook that the packet comes by on its way. */
  #filter(walk: RuleWalk, walked: WalkedPacket, packet: TracedPacket): Verdict {
    const toNode = this.#local.has(walked.destination);
    const hooks = packet.inputDevice === undefined ? ['output'] : [toNode ? 'input' : 'forward'];
    // What the node sends to itself comes in again.
    if (packet.inputDevice === undefined && toNode) hooks.push('input');
    for (const hook of hooks) {
      for (const outcome of walk.walk(`filter-${hook}`, walked)) {
        if (outcome.kind === 'drop' || outcome.kind === 'reject') return { kind: outcome.kind };
      }
    }
    return { kind: 'pass' };
  }
}

/** Many draws come to the same. */
function distinct(outcomes: readonly WalkOutcome[]): Iterable<WalkOutcome> {
  return new Map(outcomes.map((outcome) => [Object.values(outcome).join(' '), outcome])).values();
}

type Translation = Extract<WalkOutcome, { kind: 'dnat' }>;

function toWalked(packet: TracedPacket): WalkedPacket {
  return {
    source: addressField(packet.source),
    destination: addressField(packet.destination),
    protocol: protocolNumber(packet.protocol),
    port: portField(packet.port).slice(0, 2),
    inputDevice: packet.inputDevice ?? '',
    mark: 0,
    translated: false,
  };
}

const translate = (packet: WalkedPacket, { address, port, mark }: Translation): WalkedPacket => ({
  ...packet,
  destination: address,
  port,
  mark,
  translated: true,
});

function textOf({ address, port }: Translation): string {
  const fields = new FieldReader(`${address}${port}\0\0`);
  return endpointText(fields.address(address.length === 4 ? 4 : 6), fields.port());
}

/** One family's table as it is. */
class ObservedTable implements RuleSource {
  readonly #rules = new Map<string, readonly NftRule[]>();
  readonly #sets = new Map<string, ReadonlyMap<string, string>>();
  readonly #keyLengths = new Map<string, number>();
  readonly #local: ReadonlySet<string>;

  constructor(kernel: ObservedKernel, settings: ProxySettings, family: IpFamily, local: ReadonlySet<string>) {
    this.#local = local;
    const sets = proxySets(family);
    const chains = kernel.chains(sets.table);
    if (chains === undefined) return;
    const counts = kernel.ruleCounts(sets.table);
    const lookups = new LookupRules(sets, family);
    const planned = new Map(planChains(settings, sets, family).map((one) => [one.chain, one.rules]));
    for (const chain of chains) {
      const found = parseBalancerChain(chain);
      const rare = found === undefined || isStandard(found.way, found.balancer) ? undefined : found;
      const rules = rare === undefined ? planned.get(chain) : lookups.balance(rare.way, rare.balancer);
      if (rules !== undefined && rules.length === (counts.get(chain) ?? 0)) this.#rules.set(chain, rules);
    }
    for (const [set, { key }] of setTypes(sets, family)) {
      const address = family === 4 ? 4 : 16;
      const length = key.reduce((sum, field) => sum + (field.endsWith('_addr') ? address : 4), 0);
      this.#keyLengths.set(set.name, length);
      this.#sets.set(set.name, this.#read(kernel, set, sets.affinity));
    }
  }

  rules(chain: string): readonly NftRule[] {
    return this.#rules.get(chain) ?? [];
  }

  lookup(set: string, registers: string): string | undefined {
    return this.#sets.get(set)?.get(registers.slice(0, this.#keyLengths.get(set) ?? 0));
  }

  isLocalAddress(address: string): boolean {
    return this.#local.has(address);
  }

  #read(kernel: ObservedKernel, set: NftSet, affinity: NftSet): Map<string, string> {
    // Told is what clients can get that are not bound to anything.
    if (set === affinity) return new Map();
    return new Map(kernel.elements(set).map(({ key, value }) => [key, value ?? '']));
  }
}
