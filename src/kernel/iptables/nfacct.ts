import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Attributes, MessageBuilder } from '../netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';

// linux/netfilter/nfnetlink.h and nfnetlink_acct.h
const NFNL_SUBSYS_ACCT = 7;
const NFNL_MSG_ACCT_NEW = 0;
const NFNL_MSG_ACCT_GET = 1;
const NFACCT_NAME = 1;
const NFACCT_PKTS = 2;
/** Longest name, with the NUL: NFACCT_NAME_MAX. */
const NAME_MAX = 32;

/** Named packet counters of a network namespace (nfnetlink_acct), which rules count in by `-m nfacct`. */
export interface PacketCounters {
  /** Makes the counter where it is missing; false where the kernel has no such counters. */
  ensure(name: string): boolean;
  /** Packets counted; undefined when there is no such counter. */
  packets(name: string): bigint | undefined;
  close(): void;
}

export class NfacctSocket implements PacketCounters {
  readonly #socket: NetlinkSocket;

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  static open(netns?: number): NfacctSocket {
    return new NfacctSocket(NetlinkSocket.open(NETLINK_NETFILTER, netns === undefined ? {} : { netns }));
  }

  ensure(name: string): boolean {
    if (name.length >= NAME_MAX) return false;
    try {
      this.#socket.request(
        { type: (NFNL_SUBSYS_ACCT << 8) | NFNL_MSG_ACCT_NEW, flags: NLM_F_CREATE_EXCL, body: named(name) },
        `make packet counter ${name}`,
      );
      return true;
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'EEXIST') return true;
      // No nfnetlink_acct in this kernel, or not allowed: the proxy works without counters.
      if (error instanceof FlatnetError) return false;
      throw error;
    }
  }

  packets(name: string): bigint | undefined {
    try {
      const [answer] = this.#socket.request(
        { type: (NFNL_SUBSYS_ACCT << 8) | NFNL_MSG_ACCT_GET, body: named(name) },
        `read packet counter ${name}`,
      );
      return answer === undefined ? undefined : Attributes.parse(answer.body, 4).u64be(NFACCT_PKTS);
    } catch (error) {
      if (error instanceof FlatnetError) return undefined;
      throw error;
    }
  }

  close(): void {
    this.#socket.close();
  }
}

/** NLM_F_CREATE | NLM_F_EXCL (linux/netlink.h). */
const NLM_F_CREATE_EXCL = 0x600;

/** A struct nfgenmsg of no family, and the name. */
function named(name: string): Uint8Array {
  return new MessageBuilder(64).u8(0).u8(0).u16be(0).attrString(NFACCT_NAME, name).finish();
}
