import type { IpFamily } from '../../net/ip.ts';
import { MessageBuilder, NLM_F_CREATE, NLM_F_REQUEST } from '../netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';

// <linux/netfilter/nfnetlink.h>, <linux/netfilter/nf_tables.h>
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWTABLE = NFNL_SUBSYS_NFTABLES << 8;
const NFTA_TABLE_NAME = 1;
const NFPROTO = { 4: 2, 6: 10 } as const;

/**
 * Whether nf_tables can have tables of the family: a kernel may have nf_tables, list what is there, which is nothing,
 * and not be built for a family. Asked for by a transaction that has no end, so that nothing comes of it.
 */
export function nftablesServes(family: IpFamily, netns?: number): boolean {
  const socket = NetlinkSocket.open(NETLINK_NETFILTER, netns === undefined ? {} : { netns });
  try {
    const seq = socket.reserveSequence(2);
    const batch = new MessageBuilder(128);
    batch.begin(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, seq).u8(0).u8(0).u16be(NFNL_SUBSYS_NFTABLES).end();
    batch.begin(NFT_MSG_NEWTABLE, NLM_F_REQUEST | NLM_F_CREATE, seq + 1);
    batch.u8(NFPROTO[family]).u8(0).u16be(0).attrString(NFTA_TABLE_NAME, 'flatnet-probe').end();
    const { acks } = socket.sendBatch(batch.finish(), 'ask for nf_tables');
    return acks.every(({ errno }) => errno === 0);
  } finally {
    socket.close();
  }
}
