import type { Socket } from 'node:net';
import { readableNetlink } from '../netlink/readable.ts';
import { Attributes, decodeMessages, type NetlinkMessage } from '../netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';
import { Netns } from '../netns/netns.ts';
import { retry } from '../../timing/backoff.ts';
import { FAMILIES, NFNL_SUBSYS_NFTABLES } from './nfgen.ts';
import type { NftForeignChange, NftTable } from './objects.ts';

/** From <linux/netfilter/nfnetlink.h>. */
const NFNLGRP_NFTABLES = 7;
/** Table, chain, rule, set and elements have the name of their table in attribute 1 of their messages. */
const NFTA_TABLE = 1;
const NFT_MSG_NEWGEN = 15;
/** NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM. */
const ELEMENT_MESSAGES: ReadonlySet<number> = new Set([12, 14]);
const RECEIVE_BUFFER = 4 * 1024 * 1024;

export interface TableWatch {
  readonly tables: readonly NftTable[];
  /** Descriptor of the network namespace; the caller's own when absent. */
  readonly netns: number | undefined;
  /** Port of the socket whose transactions do not count. */
  readonly own: number;
  readonly changed: (what: NftForeignChange) => void;
}

/**
 * Calls back when somebody else changes a table, or when the kernel dropped notifications, of which some may have
 * told that. Returns what ends it.
 */
export function watchTables(watch: TableWatch): () => void {
  const end = new AbortController();
  // Opened by its own descriptor: the caller's may be closed when a socket has to be opened anew.
  const netns = watch.netns === undefined ? Netns.current() : Netns.open(`/proc/self/fd/${watch.netns}`);
  const attach = (socket: Socket): Socket => {
    socket.on('data', (chunk: Buffer) => {
      const what = end.signal.aborted ? undefined : foreignChange(chunk, watch);
      if (what !== undefined) watch.changed(what);
    });
    socket.once('error', () => void reopen());
    return socket;
  };
  const open = (): Socket => attach(openSocket(netns));
  let current = open();
  const reopen = async (): Promise<void> => {
    try {
      await retry(async () => await Promise.resolve((current = open())), { signal: end.signal });
      watch.changed('lost');
    } catch (error) {
      if (!end.signal.aborted) throw error;
    }
  };
  return () => {
    end.abort();
    current.destroy();
    netns.close();
  };
}

function openSocket(netns: Netns): Socket {
  const netlink = NetlinkSocket.open(NETLINK_NETFILTER, {
    netns: netns.fd,
    nonblocking: true,
    receiveBufferBytes: RECEIVE_BUFFER,
  });
  netlink.joinGroup(NFNLGRP_NFTABLES);
  return readableNetlink(netlink);
}

/** What a datagram, which tells of one transaction, says of the tables; undefined: nothing that others did. */
function foreignChange(datagram: Buffer, watch: TableWatch): NftForeignChange | undefined {
  let messages: NetlinkMessage[];
  try {
    // A transaction has one sender: the first message tells of all.
    if (datagram.length >= 16 && datagram.readUInt32LE(12) === watch.own) return undefined;
    messages = decodeMessages(datagram);
  } catch {
    return 'lost';
  }
  const about = messages.filter((message) => isAbout(message, watch.tables));
  if (about.length === 0) return undefined;
  return about.every(({ type }) => ELEMENT_MESSAGES.has(type & 0xff)) ? 'elements' : 'structure';
}

function isAbout({ type, body }: NetlinkMessage, tables: readonly NftTable[]): boolean {
  if (type >> 8 !== NFNL_SUBSYS_NFTABLES || (type & 0xff) === NFT_MSG_NEWGEN) return false;
  const family = body[0];
  if (!tables.some((table) => FAMILIES[table.family] === family)) return false;
  const name = Attributes.parse(body, 4).string(NFTA_TABLE);
  return tables.some((table) => table.name === name && FAMILIES[table.family] === family);
}
