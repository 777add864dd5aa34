import { FlatnetError } from '../../../errors/flatnet-error.ts';
import * as libc from '../../../kernel/libc/libc.ts';
import { Attributes, decodeMessages } from '../../../kernel/netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../../../kernel/netlink/socket.ts';
import { decodeElements, decodeElementsHeader } from '../../../kernel/nft/element-codec.ts';
import { setName, type NftElement, type NftSet } from '../../../kernel/nft/objects.ts';

// linux/netfilter/nfnetlink.h and nf_tables.h
const NFNLGRP_NFTABLES = 7;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWRULE = 6;
const NFT_MSG_DELRULE = 8;
const NFT_MSG_NEWSETELEM = 12;
const NFT_MSG_DELSETELEM = 14;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFGENMSG_BYTES = 4;

/** A read of the socket waits ten seconds. */
const TRIES = 6;

/** Waits, blocking and so without taking CPU from what is measured, for what nf_tables tells of transactions. */
export class NftEvents {
  readonly #socket: NetlinkSocket;
  readonly #buffer = Buffer.alloc(256 * 1024);

  constructor(netns: number) {
    this.#socket = NetlinkSocket.open(NETLINK_NETFILTER, { netns, receiveBufferBytes: 8 * 1024 * 1024 });
    this.#socket.joinGroup(NFNLGRP_NFTABLES);
  }

  /** Forgets what was told until now. */
  drain(): void {
    while (
      libc.recv(this.#socket.fd, this.#buffer, libc.MSG_DONTWAIT, 'forget changes of nf_tables') !== undefined
    );
  }

  /** Returns when a message for which `wanted` is true has come. Throws ETIMEDOUT when none comes for a while. */
  waitFor(what: string, wanted: (operation: number, body: Buffer) => boolean): void {
    for (let left = TRIES; left > 0;) {
      const length = libc.recv(this.#socket.fd, this.#buffer, 0, 'wait for a change of nf_tables');
      if (length === undefined) {
        left -= 1;
        continue;
      }
      for (const { type, body } of decodeMessages(this.#buffer.subarray(0, length))) {
        if (type >> 8 === NFNL_SUBSYS_NFTABLES && wanted(type & 0xff, body)) return;
      }
    }
    throw new FlatnetError(`nf_tables told no change of ${what} for a minute`, { code: 'ETIMEDOUT' });
  }

  /** An element with that data came to the map, or went from it. */
  waitForElement(map: NftSet, what: 'there' | 'gone', value: string): void {
    const wanted = what === 'there' ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM;
    this.waitFor(setName(map), (operation, body) => {
      if (operation !== wanted) return false;
      const header = decodeElementsHeader(body);
      if (header.table !== map.table.name || header.set !== map.name) return false;
      const found: NftElement[] = [];
      decodeElements(body, map.kind, found);
      return found.some((element) => element.value === value);
    });
  }

  /** A rule came to the chain or went from it. */
  waitForRule(table: string, chain: string): void {
    this.waitFor(`chain ${chain}`, (operation, body) => {
      if (operation !== NFT_MSG_NEWRULE && operation !== NFT_MSG_DELRULE) return false;
      const attributes = Attributes.parse(body, NFGENMSG_BYTES);
      return attributes.string(NFTA_RULE_TABLE) === table && attributes.string(NFTA_RULE_CHAIN) === chain;
    });
  }

  close(): void {
    this.#socket.close();
  }
}
