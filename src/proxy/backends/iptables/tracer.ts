import type { IptablesKernel, ObservedTable } from '../../../kernel/iptables/objects.ts';
import { observedText } from '../../../kernel/iptables/save-text.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { endpointText } from '../../services/endpoint-text.ts';
import type { TracedNode, TracedPacket, Tracer, Verdict } from '../../verdict.ts';
import { readTracedRule, type PacketState, type TracedRule } from './traced-rule.ts';

type TracedTable = 'nat' | 'filter';

/** Where one of a packet's possible ways through a chain ends. */
interface Way {
  readonly packet: PacketState;
  readonly end: 'through' | 'accept' | 'drop' | 'reject' | 'dnat' | 'masquerade';
}

/** Follows packets through the chains of iptables, as iptables-save tells them: every way that chance may take. */
export class IptablesTracer implements Tracer {
  readonly #tables: ReadonlyMap<IpFamily, Readonly<Record<TracedTable, ObservedTable>>>;
  readonly #addresses: ReadonlySet<string>;
  readonly #rules = new Map<string, readonly TracedRule[]>();

  private constructor(
    tables: ReadonlyMap<IpFamily, Readonly<Record<TracedTable, ObservedTable>>>,
    node: TracedNode,
  ) {
    this.#tables = tables;
    this.#addresses = new Set(node.addresses.map((address) => Ip.parse(address).toString()));
  }

  /** Reads what the kernels (one for each family) have now. */
  static async observe(
    kernels: readonly Pick<IptablesKernel, 'family' | 'save'>[],
    node: TracedNode,
  ): Promise<IptablesTracer> {
    const tables = new Map<IpFamily, Readonly<Record<TracedTable, ObservedTable>>>();
    for (const kernel of kernels) {
      tables.set(kernel.family, {
        nat: observedText(await kernel.save('nat'), 'nat'),
        filter: observedText(await kernel.save('filter'), 'filter'),
      });
    }
    return new IptablesTracer(tables, node);
  }

  trace(packet: TracedPacket): Verdict {
    const start: PacketState = {
      source: Ip.parse(packet.source),
      destination: Ip.parse(packet.destination),
      protocol: packet.protocol.toLowerCase(),
      port: packet.port,
      inputDevice: packet.inputDevice,
      mark: 0,
      states: ['NEW'],
      isLocal: (address) => this.#isLocal(address),
    };
    const endpoints = new Set<string>();
    const masqueraded = new Set<string>();
    const others = new Set<'reject' | 'drop' | 'pass'>();
    for (const way of this.#walk('nat', start.inputDevice === undefined ? 'OUTPUT' : 'PREROUTING', start)) {
      const verdict = way.end === 'drop' || way.end === 'reject' ? way.end : this.#filter(way.packet);
      if (verdict !== 'accept') others.add(verdict);
      else if (way.end !== 'dnat') others.add('pass');
      else {
        const endpoint = endpointText(way.packet.destination.toString(), way.packet.port);
        endpoints.add(endpoint);
        if (this.#isMasqueraded(way.packet)) masqueraded.add(endpoint);
      }
    }
    if (endpoints.size > 0) {
      return { kind: 'endpoints', endpoints: [...endpoints].sort(), masqueraded: [...masqueraded].sort() };
    }
    for (const kind of ['drop', 'reject'] as const) if (others.has(kind)) return { kind };
    return { kind: 'pass' };
  }

  #isLocal(address: Ip): boolean {
    const text = address.toString();
    return this.#addresses.has(text) || text.startsWith('127.') || text === '::1';
  }

  #filter(packet: PacketState): 'accept' | 'drop' | 'reject' {
    // What the node sends to itself goes through OUTPUT, and then through INPUT.
    const local = this.#isLocal(packet.destination);
    const chains = packet.inputDevice === undefined ? ['OUTPUT'] : local ? [] : ['FORWARD'];
    if (local) chains.push('INPUT');
    for (const chain of chains) {
      for (const { end } of this.#walk('filter', chain, packet)) {
        if (end === 'drop' || end === 'reject') return end;
      }
    }
    return 'accept';
  }

  #isMasqueraded(packet: PacketState): boolean {
    if (packet.inputDevice !== undefined && this.#isLocal(packet.destination)) return false;
    return this.#walk('nat', 'POSTROUTING', packet).some(({ end }) => end === 'masquerade');
  }

  #walk(table: TracedTable, chain: string, packet: PacketState): Way[] {
    const ends: Way[] = [];
    let going = [packet];
    for (const rule of this.#rulesOf(table, chain, packet.source.family)) {
      const next: PacketState[] = [];
      for (const state of going) {
        const can = rule.matches(state);
        if (!can || rule.byChance) next.push(state);
        if (can) this.#follow(table, rule, state, next, ends);
      }
      going = next;
      if (going.length === 0) break;
    }
    return [...ends, ...going.map((state) => ({ packet: state, end: 'through' }) as const)];
  }

  /** What becomes of a packet that a rule matches: it goes on (`next`), or its way ends (`ends`). */
  #follow(
    table: TracedTable,
    { target }: TracedRule,
    packet: PacketState,
    next: PacketState[],
    ends: Way[],
  ): void {
    switch (target.kind) {
      case 'next':
        next.push(packet);
        return;
      case 'mark':
        next.push({ ...packet, mark: ((packet.mark & ~target.mask) ^ target.value) >>> 0 });
        return;
      case 'return':
        ends.push({ packet, end: 'through' });
        return;
      case 'jump':
        for (const way of this.#walk(table, target.chain, packet)) {
          if (way.end === 'through') next.push(way.packet);
          else ends.push(way);
        }
        return;
      case 'dnat': {
        const { address: destination, port } = target;
        const states = [...packet.states, 'DNAT'];
        ends.push({ packet: { ...packet, destination, port, states }, end: 'dnat' });
        return;
      }
      default:
        ends.push({ packet, end: target.kind });
    }
  }

  #rulesOf(table: TracedTable, chain: string, family: IpFamily): readonly TracedRule[] {
    const key = `${family} ${table} ${chain}`;
    let rules = this.#rules.get(key);
    if (rules === undefined) {
      rules = (this.#tables.get(family)?.[table].rules(chain) ?? []).map(readTracedRule);
      this.#rules.set(key, rules);
    }
    return rules;
  }
}
