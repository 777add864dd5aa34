import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { IpFamily } from '../../net/ip.ts';
import * as libc from '../libc/libc.ts';
import { withNetns } from '../netns/netns.ts';
import { withReserve, type KeptRun } from './legacy-edit.ts';
import { GET_ENTRIES_HEADER, HOOKS, REPLACE_HEADER } from './legacy-layout.ts';
import { LegacyTable, type TableInfo } from './legacy-table.ts';
import type { TableName } from './objects.ts';

// linux/netfilter_ipv4/ip_tables.h; those of IPv6 have the same numbers.
const SO_SET_REPLACE = 64;
const SO_SET_ADD_COUNTERS = 65;
const SO_GET_INFO = 64;
const SO_GET_ENTRIES = 65;
const IPPROTO_IP = 0;
const IPPROTO_RAW = 255;
const NAME_SIZE = 32;
/** struct ipt_getinfo: name, valid_hooks, hook_entry[5], underflow[5], num_entries, size */
const INFO_SIZE = NAME_SIZE + 4 + 2 * 4 * HOOKS + 8;
/** struct xt_counters: packets and bytes */
const COUNTER = 16;
/** struct xt_counters_info: name and how many, then counters */
const COUNTERS_HEADER = 40;
const READ_ATTEMPTS = 10;

/** ip_tables of one address family in one network namespace, by socket options as iptables-legacy itself has it. */
export class LegacySocket {
  readonly family: IpFamily;
  readonly #fd: number;
  readonly #level: number;

  private constructor(family: IpFamily, fd: number) {
    this.family = family;
    this.#fd = fd;
    this.#level = family === 4 ? IPPROTO_IP : libc.IPPROTO_IPV6;
  }

  /** `netns`: descriptor of the network namespace; the caller's own when absent. */
  static open(family: IpFamily, netns?: number): LegacySocket {
    const open = (): number =>
      libc.socket(family === 4 ? libc.AF_INET : libc.AF_INET6, libc.SOCK_RAW, IPPROTO_RAW, 'open ip_tables');
    return new LegacySocket(family, netns === undefined ? open() : withNetns(netns, open));
  }

  /** Whether ip_tables, or ip6_tables, is loaded. */
  isThere(): boolean {
    try {
      this.info('filter');
      return true;
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'IPTABLES_UNSUPPORTED') return false;
      throw error;
    }
  }

  /** Loads the table's module if need be. Throws IPTABLES_UNSUPPORTED where the kernel has no such table. */
  info(table: TableName): TableInfo {
    let info: Buffer;
    try {
      info = libc.getsockopt(this.#fd, this.#level, SO_GET_INFO, INFO_SIZE, nameOf(table));
    } catch (cause) {
      if (!(cause instanceof FlatnetError) || !['ENOENT', 'ENOPROTOOPT'].includes(cause.code)) throw cause;
      throw new FlatnetError(`the kernel has no ip${this.family === 6 ? '6' : ''}_tables table ${table}`, {
        code: 'IPTABLES_UNSUPPORTED',
        hint: `modprobe ip${this.family === 6 ? '6' : ''}table_${table}, or use the variant nft of iptables`,
        cause,
      });
    }
    const numbers = (at: number): number[] =>
      Array.from({ length: HOOKS }, (_, index) => info.readUInt32LE(at + 4 * index));
    return {
      validHooks: info.readUInt32LE(NAME_SIZE),
      hookEntries: numbers(NAME_SIZE + 4),
      underflows: numbers(NAME_SIZE + 4 + 4 * HOOKS),
      entries: info.readUInt32LE(INFO_SIZE - 8),
      size: info.readUInt32LE(INFO_SIZE - 4),
    };
  }

  async read(table: TableName): Promise<LegacyTable> {
    for (let attempt = 1; ; attempt += 1) {
      const info = this.info(table);
      const bytes = Buffer.alloc(withReserve(REPLACE_HEADER + info.size));
      const request = bytes.subarray(REPLACE_HEADER - GET_ENTRIES_HEADER, REPLACE_HEADER + info.size);
      request.set(nameOf(table));
      request.writeUInt32LE(info.size, NAME_SIZE);
      try {
        await libc.sockoptElsewhere('get', this.#fd, this.#level, SO_GET_ENTRIES, request);
        return LegacyTable.parse(table, this.family, bytes, info);
      } catch (error) {
        // It grew or shrank since its size was asked for.
        const again = error instanceof FlatnetError && ['EAGAIN', 'EINVAL'].includes(error.code);
        if (!again || attempt === READ_ATTEMPTS) throw error;
      }
    }
  }

  /**
   * Puts the edited table in the place of the one that had `oldEntries` entries, with what was counted for those that
   * stay. Throws EAGAIN when the table in the kernel has another number of entries.
   */
  async replace(table: LegacyTable, oldEntries: number, kept: readonly KeptRun[]): Promise<void> {
    const { validHooks } = this.info(table.name);
    const counters = Buffer.alloc(Math.max(oldEntries, 1) * COUNTER);
    const request = table.bytes.subarray(0, REPLACE_HEADER + table.size);
    writeReplaceHeader(request, table, { validHooks, oldEntries, counters });
    await libc.sockoptElsewhere('set', this.#fd, this.#level, SO_SET_REPLACE, request);
    const restored = Buffer.alloc(COUNTERS_HEADER + table.entries * COUNTER);
    restored.set(nameOf(table.name));
    restored.writeUInt32LE(table.entries, NAME_SIZE);
    for (const { oldIndex, newIndex, entries } of kept) {
      const from = oldIndex * COUNTER;
      counters.copy(restored, COUNTERS_HEADER + newIndex * COUNTER, from, from + entries * COUNTER);
    }
    await libc.sockoptElsewhere('set', this.#fd, this.#level, SO_SET_ADD_COUNTERS, restored);
  }

  close(): void {
    libc.close(this.#fd);
  }
}

/** struct ipt_replace */
function writeReplaceHeader(
  request: Buffer,
  table: LegacyTable,
  { validHooks, oldEntries, counters }: { validHooks: number; oldEntries: number; counters: Buffer },
): void {
  request.fill(0, 0, REPLACE_HEADER);
  request.set(nameOf(table.name));
  request.writeUInt32LE(validHooks, 32);
  request.writeUInt32LE(table.entries, 36);
  request.writeUInt32LE(table.size, 40);
  for (const { hook, rules, policy } of table.places.values()) {
    if (hook === undefined) continue;
    request.writeUInt32LE(rules, 44 + 4 * hook);
    request.writeUInt32LE(policy, 64 + 4 * hook);
  }
  request.writeUInt32LE(oldEntries, 84);
  request.writeBigUInt64LE(libc.addressOf(counters), 88);
}

function nameOf(table: TableName): Buffer {
  return Buffer.from(`${table}\0`, 'latin1');
}
