import type { MessageBuilder } from '../netlink/message.ts';
import type { NftFamily } from './objects.ts';

/** From <linux/netfilter/nfnetlink.h>. */
export const NFNL_SUBSYS_NFTABLES = 10;

/** NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6. */
export const FAMILIES: Readonly<Record<NftFamily, number>> = { inet: 1, ip: 2, ip6: 10 };

export const nftMessageType = (operation: number): number => (NFNL_SUBSYS_NFTABLES << 8) | operation;

/** struct nfgenmsg. */
export function writeNfgen(
  builder: MessageBuilder,
  family: NftFamily | undefined,
  resource = 0,
): MessageBuilder {
  return builder
    .u8(family === undefined ? 0 : FAMILIES[family])
    .u8(0)
    .u16be(resource);
}
