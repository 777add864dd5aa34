import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { NfacctSocket, type PacketCounters } from '../../../kernel/iptables/nfacct.ts';
import { readSysctl, writeSysctl } from '../../../kernel/sysctl/sysctl.ts';

const ROUTE_LOCALNET = 'net.ipv4.conf.all.route_localnet';
const TCP_BE_LIBERAL = 'net.netfilter.nf_conntrack_tcp_be_liberal';

/** What the mode needs of the node beside iptables. */
export interface NodeState {
  /** Lets packets from 127.0.0.0/8 be sent elsewhere, for node ports on 127.0.0.1. */
  routeLocalnet(): void;
  tcpBeLiberal(): boolean;
  /** Makes a packet counter; false where the kernel has none. */
  ensureCounter(name: string): boolean;
  /** What a counter has counted; undefined where there is none. */
  packets(name: string): number | undefined;
  close(): void;
}

/** Sysctls and counters of a network namespace; the caller's own when `netns` is absent. */
export class KernelNodeState implements NodeState {
  readonly #netns: number | undefined;
  readonly #counters: PacketCounters;

  constructor(netns: number | undefined) {
    this.#netns = netns;
    this.#counters = NfacctSocket.open(netns);
  }

  routeLocalnet(): void {
    if (readSysctl(ROUTE_LOCALNET, this.#netns) !== '1') writeSysctl(ROUTE_LOCALNET, 1, this.#netns);
  }

  tcpBeLiberal(): boolean {
    try {
      return readSysctl(TCP_BE_LIBERAL, this.#netns) !== '0';
    } catch (error) {
      // Connection tracking is not loaded yet.
      if (error instanceof FlatnetError) return false;
      throw error;
    }
  }

  ensureCounter(name: string): boolean {
    return this.#counters.ensure(name);
  }

  packets(name: string): number | undefined {
    const packets = this.#counters.packets(name);
    return packets === undefined ? undefined : Number(packets);
  }

  close(): void {
    this.#counters.close();
  }
}

/** A node in memory. */
export class FakeNodeState implements NodeState {
  routesLocalnet = false;
  liberal = false;
  /** Whether the kernel has counters. */
  counts = true;
  readonly counters = new Set<string>();

  routeLocalnet(): void {
    this.routesLocalnet = true;
  }

  tcpBeLiberal(): boolean {
    return this.liberal;
  }

  ensureCounter(name: string): boolean {
    if (this.counts) this.counters.add(name);
    return this.counts;
  }

  packets(name: string): number | undefined {
    return this.counters.has(name) ? 0 : undefined;
  }

  close(): void {}
}
