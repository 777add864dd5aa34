import { FlatnetError } from '../../errors/flatnet-error.ts';
import * as libc from '../libc/libc.ts';
import { withNetns } from '../netns/netns.ts';
import type { IptablesRule, RuleMatch } from './rule.ts';

// linux/netfilter/ipset/ip_set.h
const SO_IP_SET = 83;
const IP_SET_OP_GET_BYNAME = 6;
/** Every kernel since 2.6.39 speaks it. */
const IPSET_PROTOCOL = 6;
const IPSET_INVALID_ID = 65_535;
const NAME_MAX = 31;
/** struct ip_set_req_get_set: op, version, and the name in whose place the number comes back. */
const REQUEST_SIZE = 8 + NAME_MAX + 1;
const IPPROTO_IP = 0;
const IPPROTO_RAW = 255;

/** Numbers of ipsets in one network namespace, asked for as iptables asks: by a socket option of IPv4, a few microseconds. */
export class SetNumbers {
  readonly #netns: number | undefined;
  #fd: number | undefined;

  /** `netns`: descriptor of the network namespace; the caller's own when absent. */
  constructor(netns?: number) {
    this.#netns = netns;
  }

  /** The rule with the numbers of the sets that it looks at. Throws IPSET_MISSING. */
  complete(rule: IptablesRule): IptablesRule {
    if (rule.matches?.some(({ kind }) => kind === 'set') !== true) return rule;
    const matches = rule.matches.map((match): RuleMatch =>
      match.kind === 'set' ? { ...match, number: this.#numberOf(match.set) } : match,
    );
    return { ...rule, matches };
  }

  close(): void {
    if (this.#fd !== undefined) libc.close(this.#fd);
    this.#fd = undefined;
  }

  #numberOf(set: string): number {
    this.#fd ??= this.#netns === undefined ? openSocket() : withNetns(this.#netns, openSocket);
    const request = Buffer.alloc(REQUEST_SIZE);
    request.writeUInt32LE(IP_SET_OP_GET_BYNAME, 0);
    request.writeUInt32LE(IPSET_PROTOCOL, 4);
    request.write(set.slice(0, NAME_MAX), 8, 'latin1');
    const number = libc.getsockopt(this.#fd, IPPROTO_IP, SO_IP_SET, REQUEST_SIZE, request).readUInt16LE(8);
    if (number !== IPSET_INVALID_ID) return number;
    throw new FlatnetError(`there is no ipset ${set}`, { code: 'IPSET_MISSING', retryable: true });
  }
}

function openSocket(): number {
  return libc.socket(libc.AF_INET, libc.SOCK_RAW, IPPROTO_RAW, 'ask for ipsets');
}
