import type {
  NftExpression,
  NftLoad,
  NftMatch,
  NftRule,
  NftStatement,
} from '../../../kernel/nft/expression.ts';
import { indexField } from '../../../kernel/nft/field.ts';

/** A packet as rules see it; bytes as registers hold them. */
export interface WalkedPacket {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  /** Destination port, two bytes. */
  readonly port: string;
  /** Empty for what the node itself sends. */
  readonly inputDevice: string;
  readonly mark: number;
  readonly translated: boolean;
}

/** What a rule decided; with random draws there may be many for one packet. */
export type WalkOutcome =
  | { readonly kind: 'dnat'; readonly address: string; readonly port: string; readonly mark: number }
  | { readonly kind: 'masquerade' | 'accept' | 'drop' | 'reject' }
  /** All rules done. */
  | { readonly kind: 'end'; readonly mark: number };

/** What rules refer to. */
export interface RuleSource {
  rules(chain: string): readonly NftRule[];
  /** Undefined: the set does not have the key; what a set (not a map) has at its keys is empty. */
  lookup(set: string, key: string): string | undefined;
  isLocalAddress(address: string): boolean;
}

interface State {
  readonly registers: string[];
  packet: WalkedPacket;
}

/** A rule that did not apply leaves what it did to the mark behind. */
type RuleOutcome =
  | Exclude<WalkOutcome, { kind: 'end' }>
  | { readonly kind: 'next'; readonly mark: number }
  | Jump;
interface Jump {
  readonly kind: 'jump' | 'goto';
  readonly chain: string;
  readonly mark: number;
}

const REGISTERS = 16;
const WIDTH = 4;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const CT_NEW = 8;
const CT_DNAT = 0x20;
const INTERFACE_NAME_LENGTH = 16;

/** Goes through the rules of a chain as the kernel does (nft_do_chain), taking every random draw. */
export class RuleWalk {
  readonly #source: RuleSource;

  constructor(source: RuleSource) {
    this.#source = source;
  }

  /** All outcomes that a packet can have in a chain that a hook calls. */
  walk(chain: string, packet: WalkedPacket): WalkOutcome[] {
    const rules = this.#source.rules(chain);
    return this.#from(rules, 0, packet);
  }

  #from(rules: readonly NftRule[], index: number, packet: WalkedPacket): WalkOutcome[] {
    const rule = rules[index];
    if (rule === undefined) return [{ kind: 'end', mark: packet.mark }];
    const outcomes: WalkOutcome[] = [];
    const nextMarks = new Set<number>();
    for (const outcome of this.#rule(rule, 0, { registers: emptyRegisters(), packet })) {
      if (outcome.kind === 'next') nextMarks.add(outcome.mark);
      else if ('chain' in outcome) {
        const inside = this.walk(outcome.chain, { ...packet, mark: outcome.mark });
        for (const one of inside) {
          if (one.kind === 'end' && outcome.kind === 'jump') nextMarks.add(one.mark);
          else outcomes.push(one);
        }
      } else outcomes.push(outcome);
    }
    for (const mark of nextMarks) outcomes.push(...this.#from(rules, index + 1, { ...packet, mark }));
    return outcomes;
  }

  #rule(rule: NftRule, from: number, state: State): RuleOutcome[] {
    for (let index = from; index < rule.length; index += 1) {
      const expression = rule[index] as NftExpression;
      const next: RuleOutcome = { kind: 'next', mark: state.packet.mark };
      if ('load' in expression) {
        if (expression.load === 'random') {
          return Array.from({ length: expression.modulus }, (_, draw) => {
            const branch = { registers: [...state.registers], packet: state.packet };
            store(branch, expression.register, indexField(draw));
            return this.#rule(rule, index + 1, branch);
          }).flat();
        }
        const value = this.#load(expression, state);
        if (value === undefined) return [next];
        store(state, expression.register, value);
      } else if ('match' in expression) {
        if (!this.#matches(expression, state)) return [next];
      } else {
        const outcome = this.#statement(expression, state);
        if (outcome === 'break') return [next];
        if (outcome !== undefined) return [outcome];
      }
    }
    return [{ kind: 'next', mark: state.packet.mark }];
  }

  /** Undefined: the rule ends here. */
  #load(load: Exclude<NftLoad, { load: 'random' }>, state: State): string | undefined {
    const { packet } = state;
    switch (load.load) {
      case 'payload':
        if (load.base === 'transport') return packet.port;
        return isSourceOffset(load.offset) ? packet.source : packet.destination;
      case 'meta':
        if (load.key === 'mark') return indexField(packet.mark);
        if (load.key === 'l4proto') return String.fromCharCode(packet.protocol);
        return packet.inputDevice.padEnd(INTERFACE_NAME_LENGTH, '\0');
      case 'ct':
        return indexField(load.key === 'state' ? CT_NEW : packet.translated ? CT_DNAT : 0);
      case 'fib': {
        const address = load.of === 'source' ? packet.source : packet.destination;
        return indexField(this.#source.isLocalAddress(address) ? RTN_LOCAL : RTN_UNICAST);
      }
      case 'map':
        return this.#source.lookup(load.map, read(state, load.key));
      case 'bitwise':
        return Array.from(load.mask, (mask, at) => {
          const value = read(state, load.from).charCodeAt(at);
          return String.fromCharCode((value & mask.charCodeAt(0)) ^ load.xor.charCodeAt(at));
        }).join('');
    }
    return load satisfies never;
  }

  #matches(match: NftMatch, state: State): boolean {
    if (match.match === 'bytes') {
      const equal = read(state, match.register).startsWith(match.bytes);
      return equal === (match.operator === '==');
    }
    const found = this.#source.lookup(match.set, read(state, match.key)) !== undefined;
    return found !== (match.negated === true);
  }

  #statement(statement: NftStatement, state: State): RuleOutcome | 'break' | undefined {
    const { mark } = state.packet;
    switch (statement.statement) {
      case 'set-mark':
        state.packet = { ...state.packet, mark: readNumber(read(state, statement.register)) };
        return undefined;
      case 'update':
      case 'forget':
        return undefined;
      case 'dnat': {
        const address = read(state, statement.address).slice(0, state.packet.destination.length);
        return { kind: 'dnat', address, port: read(state, statement.port).slice(0, 2), mark };
      }
      case 'masquerade':
      case 'accept':
      case 'drop':
      case 'reject':
        return { kind: statement.statement };
      case 'goto':
      case 'jump':
        return { kind: statement.statement, chain: statement.chain, mark };
      case 'vmap': {
        const [verdict, chain] =
          this.#source.lookup(statement.map, read(state, statement.key))?.split(' ') ?? [];
        if (verdict === undefined) return 'break';
        if (chain === undefined) return { kind: verdict === 'accept' ? 'accept' : 'drop' };
        return { kind: verdict === 'jump' ? 'jump' : 'goto', chain, mark };
      }
    }
    return statement satisfies never;
  }
}

const emptyRegisters = (): string[] => Array.from({ length: REGISTERS }, () => '\0'.repeat(WIDTH));

/** Everything from a register on. */
function read(state: State, register: number): string {
  let bytes = '';
  for (let at = register; at < REGISTERS; at += 1) bytes += state.registers[at] ?? '';
  return bytes;
}

function store(state: State, register: number, value: string): void {
  const padded = value.padEnd(Math.ceil(value.length / WIDTH) * WIDTH, '\0');
  for (let at = 0; at < padded.length; at += WIDTH) {
    state.registers[register + at / WIDTH] = padded.slice(at, at + WIDTH);
  }
}

function readNumber(bytes: string): number {
  let number = 0;
  for (let at = WIDTH - 1; at >= 0; at -= 1) number = number * 0x100 + bytes.charCodeAt(at);
  return number;
}

/** Of the network header: 12 and 8 are the source of IPv4 and IPv6, 16 and 24 the destination. */
const isSourceOffset = (offset: number): boolean => offset === 12 || offset === 8;
