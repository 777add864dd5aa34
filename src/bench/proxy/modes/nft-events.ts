import { FlatnetError } from '../../../errors/flatnet-error.ts';
import * as libc from '../../../kernel/libc/libc.ts';
import { decodeMessages } from '../../../kernel/netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../../kernel/netlink/socket.ts';
import {
  decodeElements,
  decodeElementsHeader,
  NFT_MSG_NEWSETELEM,
  nftMessageType,
} from '../../../kernel/nft/codec.ts';
import { setName, type NftElement, type NftSet } from '../../../kernel/nft/objects.ts';

const NFNLGRP_NFTABLES = 7;

/** Waits, blocking and so without taking CPU from what is measured, for an element to be told by the kernel. */
export class NftEvents {
  readonly #socket: NetlinkSocket;
  readonly #buffer = Buffer.alloc(256 * 1024);

  constructor(netns: number) {
    this.#socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns, receiveBufferBytes: 8 * 1024 * 1024 });
    this.#socket.joinGroup(NFNLGRP_NFTABLES);
  }

  /** Throws when the element does not come within ten seconds. */
  waitForElement(set: NftSet, element: NftElement): void {
    for (;;) {
      const length = libc.recv(this.#socket.fd, this.#buffer, 0, 'wait for a change of nf_tables');
      if (length === undefined) {
        throw new FlatnetError(`no change of ${setName(set)} within ten seconds`, { code: 'ETIMEDOUT' });
      }
      for (const message of decodeMessages(this.#buffer.subarray(0, length))) {
        if (message.type !== nftMessageType(NFT_MSG_NEWSETELEM)) continue;
        const header = decodeElementsHeader(message.body);
        if (header.table !== set.table.name || header.set !== set.name) continue;
        const found: NftElement[] = [];
        decodeElements(message.body, set.kind, found);
        if (found.some((other) => other.key === element.key && other.value === element.value)) return;
      }
    }
  }

  close(): void {
    this.#socket.close();
  }
}
