import type { IpFamily } from '../../net/ip.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import * as libc from '../libc/libc.ts';
import { Attributes, decodeMessages } from '../netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';

// linux/netfilter/nfnetlink.h and nf_tables.h
const NFNLGRP_NFTABLES = 7;
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_DELCHAIN = 5;
const NFT_MSG_NEWRULE = 6;
const NFT_MSG_DELRULE = 8;
const NFTA_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_RULE_CHAIN = 2;
/** NFPROTO_IPV4 and NFPROTO_IPV6. */
const PROTOCOL_FAMILIES = { 4: 2, 6: 10 } as const;
const RECEIVE_BUFFER = 2 * 1024 * 1024;
const TABLES = new Set(['nat', 'filter', 'mangle']);
/** Made and looked after by kubelet. */
const KUBELETS = /^KUBE-(KUBELET-CANARY|IPTABLES-HINT|FIREWALL)$/;

/**
 * What others do to the chains of the proxy in nf_tables, as the kernel tells it. Nothing is read until it is asked
 * for: what was told meanwhile waits in the socket, and if that overflows anything may have been changed.
 */
export class NftAlterations {
  readonly #socket: NetlinkSocket;
  readonly #family: number;
  readonly #buffer = Buffer.alloc(64 * 1024);
  #altered = false;

  private constructor(socket: NetlinkSocket, family: IpFamily) {
    this.#socket = socket;
    this.#family = PROTOCOL_FAMILIES[family];
  }

  static open(family: IpFamily, netns?: number): NftAlterations {
    const socket = NetlinkSocket.open(NETLINK_NETFILTER, {
      receiveBufferBytes: RECEIVE_BUFFER,
      ...(netns === undefined ? {} : { netns }),
    });
    socket.joinGroup(NFNLGRP_NFTABLES);
    return new NftAlterations(socket, family);
  }

  /** Whether somebody else changed the proxy's chains, or took rules out of the kernel's, since `forget`. */
  get altered(): boolean {
    this.#receive((datagram) => {
      this.#altered ||= this.#concerns(datagram);
    });
    return this.#altered;
  }

  /** Everything is being read anew: what was told before no longer matters. */
  forget(): void {
    this.#receive(() => {});
    this.#altered = false;
  }

  /** Runs what changes chains itself: what the kernel tells of that does not count. */
  async except<T>(action: () => Promise<T>): Promise<T> {
    const altered = this.altered;
    try {
      return await action();
    } finally {
      this.forget();
      this.#altered = altered;
    }
  }

  close(): void {
    this.#socket.close();
  }

  #receive(take: (datagram: Buffer) => void): void {
    for (;;) {
      try {
        const length = libc.recv(
          this.#socket.fd,
          this.#buffer,
          libc.MSG_DONTWAIT,
          'read what nf_tables tells',
        );
        if (length === undefined) return;
        take(this.#buffer.subarray(0, length));
      } catch (error) {
        // ENOBUFS: the kernel dropped some.
        if (!(error instanceof FlatnetError) || error.code !== 'ENOBUFS') throw error;
        this.#altered = true;
      }
    }
  }

  #concerns(datagram: Buffer): boolean {
    return decodeMessages(datagram).some(({ type, body }) => {
      if (type >> 8 !== NFNL_SUBSYS_NFTABLES || body[0] !== this.#family) return false;
      const operation = type & 0xff;
      const isRule = operation === NFT_MSG_NEWRULE || operation === NFT_MSG_DELRULE;
      if (!isRule && operation !== NFT_MSG_NEWCHAIN && operation !== NFT_MSG_DELCHAIN) return false;
      const attributes = Attributes.parse(body, 4);
      const chain = attributes.string(isRule ? NFTA_RULE_CHAIN : NFTA_CHAIN_NAME) ?? '';
      if (!TABLES.has(attributes.string(NFTA_TABLE) ?? '') || KUBELETS.test(chain)) return false;
      return (
        chain.startsWith('KUBE-') || (operation === NFT_MSG_DELRULE && /^[A-Z]+(?:ING|PUT|WARD)$/.test(chain))
      );
    });
  }
}
