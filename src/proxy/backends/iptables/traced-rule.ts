import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { splitWords } from '../../../kernel/iptables/save-text.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';

/** A packet on its way through the tables. */
export interface PacketState {
  readonly source: Ip;
  readonly destination: Ip;
  readonly protocol: string;
  readonly port: number;
  readonly inputDevice: string | undefined;
  readonly mark: number;
  readonly states: readonly string[];
  /** Whether an address is one of the node's. */
  readonly isLocal: (address: Ip) => boolean;
}

type TracedTarget =
  | { readonly kind: 'next' }
  | { readonly kind: 'return' }
  | { readonly kind: 'accept' | 'drop' | 'reject' | 'masquerade' }
  | { readonly kind: 'jump'; readonly chain: string }
  | { readonly kind: 'mark'; readonly value: number; readonly mask: number }
  | { readonly kind: 'dnat'; readonly address: Ip; readonly port: number };

/** What iptables-save tells of one rule, ready to be asked about packets. */
export interface TracedRule {
  /** Whether a packet can match. */
  readonly matches: (packet: PacketState) => boolean;
  /** Whether a packet that can match may also not, by chance. */
  readonly byChance: boolean;
  readonly target: TracedTarget;
}

type Test = (packet: PacketState) => boolean;

/** Options that name a module or do not decide anything for a client that is not known yet. */
const SILENT: Readonly<Record<string, number>> = {
  '-m': 1,
  '--comment': 1,
  '--mode': 1,
  '--nfacct-name': 1,
  '--set': 0,
  '--name': 1,
  '--mask': 1,
  '--rsource': 0,
  '--seconds': 1,
  '--reap': 0,
};

/** Throws IPTABLES_RULE for a match or target that this does not know, rather than to guess. */
export function readTracedRule(rule: string): TracedRule {
  const words = splitWords(rule);
  const tests: Test[] = [];
  let byChance = false;
  let target: TracedTarget = { kind: 'next' };
  for (let at = 0; at < words.length;) {
    const not = words[at] === '!';
    if (not) at += 1;
    const option = words[at] ?? '';
    const value = words[at + 1] ?? '';
    at += 2;
    const silent = SILENT[option];
    const test = readTest(option, value);
    if (option === '-j') {
      target = readTarget(value, words.slice(at), rule);
      break;
    }
    if (option === '--probability') byChance = true;
    else if (option === '--rcheck') {
      at -= 1;
      tests.push(() => false);
    } else if (silent !== undefined) at += silent - 1;
    else if (test === undefined) throw unknown(option, rule);
    else tests.push(not ? (packet) => !test(packet) : test);
  }
  return { matches: (packet) => tests.every((test) => test(packet)), byChance, target };
}

function readTest(option: string, value: string): Test | undefined {
  switch (option) {
    case '-s':
    case '-d': {
      const prefix = Cidr.parse(value);
      return ({ source, destination }) => prefix.contains(option === '-s' ? source : destination);
    }
    case '-i':
      return ({ inputDevice = '' }) =>
        value.endsWith('+') ? inputDevice.startsWith(value.slice(0, -1)) : inputDevice === value;
    case '-p':
      return ({ protocol }) => protocol === value;
    case '--dport':
      return ({ port }) => port === Number(value);
    case '--ctstate':
      return ({ states }) => value.split(',').some((state) => states.includes(state));
    case '--mark': {
      const [wanted = 0, mask = 0xffffffff] = value.split('/').map(Number);
      return ({ mark }) => (mark & mask) >>> 0 === wanted >>> 0;
    }
    case '--src-type':
    case '--dst-type':
      if (value !== 'LOCAL') return undefined;
      return ({ isLocal, source, destination }) => isLocal(option === '--src-type' ? source : destination);
    default:
      return undefined;
  }
}

function readTarget(name: string, rest: readonly string[], rule: string): TracedTarget {
  switch (name) {
    case 'ACCEPT':
      return { kind: 'accept' };
    case 'DROP':
      return { kind: 'drop' };
    case 'REJECT':
      return { kind: 'reject' };
    case 'RETURN':
      return { kind: 'return' };
    case 'MASQUERADE':
      return { kind: 'masquerade' };
    case 'MARK': {
      const [value = 0, mask = 0] = (rest[1] ?? '').split('/').map(Number);
      if (rest[0] !== '--set-xmark') throw unknown(rest[0] ?? '', rule);
      return { kind: 'mark', value, mask };
    }
    case 'DNAT': {
      const match = /^(.*):(\d+)$/.exec(rest[1] ?? '');
      const address = Ip.tryParse((match?.[1] ?? '').replaceAll(/[[\]]/g, ''));
      if (rest[0] !== '--to-destination' || address === undefined) throw unknown(rest[0] ?? '', rule);
      return { kind: 'dnat', address, port: Number(match?.[2]) };
    }
    default:
      if (rest.length > 0 || !name.startsWith('KUBE-')) throw unknown(`-j ${name}`, rule);
      return { kind: 'jump', chain: name };
  }
}

function unknown(what: string, rule: string): FlatnetError {
  return new FlatnetError(`"${what}" of the rule "${rule}" is not known to the tracer`, {
    code: 'IPTABLES_RULE',
  });
}
