import * as libc from '../../../kernel/libc/libc.ts';
import { withNetns } from '../../../kernel/netns/netns.ts';

// linux/netfilter_ipv4/ip_tables.h: IPT_SO_GET_INFO and struct ipt_getinfo (name, valid_hooks, hook_entry[5],
// underflow[5], num_entries, size).
const IPPROTO_IP = 0;
const IPPROTO_RAW = 255;
const IPT_SO_GET_INFO = 64;
const NAME_BYTES = 32;
const NUM_ENTRIES_AT = NAME_BYTES + 4 + 5 * 4 + 5 * 4;
const STRUCT_BYTES = NUM_ENTRIES_AT + 8;

/** How many rules the tables of ip_tables (iptables-legacy, IPv4) have, without reading them. */
export class IptablesInfo {
  readonly #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  static open(netns: number): IptablesInfo {
    return new IptablesInfo(withNetns(netns, () => libc.socket(libc.AF_INET, libc.SOCK_RAW, IPPROTO_RAW)));
  }

  /** Heads and ends of chains are counted with the rules. */
  entries(table: string): number {
    const name = Buffer.from(`${table}\0`);
    const info = libc.getsockopt(this.#fd, IPPROTO_IP, IPT_SO_GET_INFO, STRUCT_BYTES, name);
    return info.readUInt32LE(NUM_ENTRIES_AT);
  }

  close(): void {
    libc.close(this.#fd);
  }
}
