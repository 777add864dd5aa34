import { FlatnetError } from '../../errors/flatnet-error.ts';
import { ERRNO, errnoError } from '../libc/errno.ts';
import * as libc from '../libc/libc.ts';
import { Netns, withNetns } from '../netns/netns.ts';
import {
  decodeAck,
  decodeMessages,
  encodeMessage,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
  NLMSG_OVERRUN,
  type NetlinkAck,
  type NetlinkMessage,
} from './message.ts';

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;

const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** The kernel makes dump datagrams of at most 32 KiB; single answers can be larger. */
const RECEIVE_SIZE = 256 * 1024;
const DUMP_ATTEMPTS = 10;
const REPLY_TIMEOUT_SECONDS = 10n;

export interface NetlinkSocketOptions {
  /** The network namespace: a path, or an open descriptor. The caller's own when absent. */
  readonly netns?: string | number;
  /** For events: the socket must not block. */
  readonly nonblocking?: boolean;
  /** Room for answers, bytes; also limits how many errors of one batch can be told. 1 MiB when absent. */
  readonly receiveBufferBytes?: number;
}

export interface NetlinkRequest {
  readonly type: number;
  /** Besides NLM_F_REQUEST, NLM_F_ACK and NLM_F_DUMP, which the socket sets. */
  readonly flags?: number;
  /** Fixed part and attributes. */
  readonly body: Uint8Array;
}

export interface BatchAnswer {
  /** One per message that asked for it (NLM_F_ACK) or failed, in the order of arrival. */
  readonly acks: readonly NetlinkAck[];
  /** Answers that are no acknowledgement (NLM_F_ECHO, GET). */
  readonly messages: readonly NetlinkMessage[];
  /** The answers did not fit into the receive buffer: some are missing from the lists. */
  readonly overrun: boolean;
}

// Every exchange below is synchronous from send to the last answer, so all sockets share one buffer.
let receiveBuffer: Buffer | undefined;

/**
 * A netlink socket for synchronous exchanges with the kernel. rtnetlink and nfnetlink work a request off within the
 * send call: the answer waits when it returns, and no exchange takes longer than the kernel's own work.
 */
export class NetlinkSocket {
  readonly fd: number;
  #seq = 0;
  #closed = false;
  #sendBuffer = 0;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** Opens a socket of `protocol` (NETLINK_ROUTE, NETLINK_NETFILTER, …) in the given network namespace. */
  static open(protocol: number, options: NetlinkSocketOptions = {}): NetlinkSocket {
    const type = libc.SOCK_RAW | (options.nonblocking === true ? libc.SOCK_NONBLOCK : 0);
    const fd = inNetns(options.netns, () => libc.socket(libc.AF_NETLINK, type, protocol));
    try {
      // Names the refused attribute, leaves the request out of the answer, and makes dumps honour their filters.
      libc.setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
      libc.setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
      if (protocol === NETLINK_ROUTE) libc.setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
      setReceiveBuffer(fd, options.receiveBufferBytes ?? 1024 * 1024);
      const timeout = Buffer.from(BigInt64Array.of(REPLY_TIMEOUT_SECONDS, 0n).buffer);
      libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVTIMEO, timeout);
      const address = Buffer.alloc(12);
      address.writeUInt16LE(libc.AF_NETLINK, 0);
      libc.bind(fd, address, 'bind netlink socket');
    } catch (error) {
      libc.close(fd);
      throw error;
    }
    return new NetlinkSocket(fd);
  }

  /** Reserves `count` sequence numbers for a batch and returns the first. */
  reserveSequence(count: number): number {
    const first = this.#seq + 1;
    this.#seq += count;
    if (this.#seq < 0x7fffffff) return first;
    this.#seq = count;
    return 1;
  }

  /**
   * Sends one request and waits for its acknowledgement. Returns what else the kernel answered (to a GET or with
   * NLM_F_ECHO). Throws FlatnetError with the errno's name as code; `doing` begins its message.
   */
  request(request: NetlinkRequest, doing: string): NetlinkMessage[] {
    const seq = this.reserveSequence(1);
    const flags = NLM_F_REQUEST | NLM_F_ACK | (request.flags ?? 0);
    this.#send(encodeMessage(request.type, flags, seq, request.body), doing);
    return this.#answers(seq, doing);
  }

  /**
   * As `request`, but the kernel does its work on another thread: for what takes it long, such as deleting a device,
   * which waits for all processors (RCU). The socket must not be used for anything else until it resolves.
   */
  async requestElsewhere(request: NetlinkRequest, doing: string): Promise<NetlinkMessage[]> {
    const seq = this.reserveSequence(1);
    const flags = NLM_F_REQUEST | NLM_F_ACK | (request.flags ?? 0);
    await libc.sendElsewhere(this.fd, encodeMessage(request.type, flags, seq, request.body), doing);
    return this.#answers(seq, doing);
  }

  /**
   * Asks for a list. A list that changed while it was read (NLM_F_DUMP_INTR) is read again, at most 10 times, then
   * EINTR is thrown.
   */
  dump(request: NetlinkRequest, doing: string): NetlinkMessage[] {
    for (let attempt = 0; attempt < DUMP_ATTEMPTS; attempt += 1) {
      const messages = this.#dumpOnce(request, doing);
      if (messages !== undefined) return messages;
    }
    throw errnoError(doing, ERRNO.EINTR, `the list changed during each of ${DUMP_ATTEMPTS} readings`);
  }

  /**
   * Sends messages that the caller built (with numbers from `reserveSequence`) in one datagram and collects all
   * answers. Does not throw for errors of single messages: they are in `acks`.
   */
  sendBatch(batch: Uint8Array, doing: string): BatchAnswer {
    this.#growSendBuffer(batch.length);
    this.#send(batch, doing);
    return this.#batchAnswer(doing);
  }

  /**
   * As `sendBatch`, but the kernel does its work on another thread. The socket must not be used for anything else
   * until it resolves, and the batch must not change.
   */
  async sendBatchElsewhere(batch: Uint8Array, doing: string): Promise<BatchAnswer> {
    this.#growSendBuffer(batch.length);
    await libc.sendElsewhere(this.fd, batch, doing);
    return this.#batchAnswer(doing);
  }

  #batchAnswer(doing: string): BatchAnswer {
    const acks: NetlinkAck[] = [];
    const messages: NetlinkMessage[] = [];
    let overrun = false;
    for (;;) {
      let data: Buffer | undefined;
      try {
        data = this.#receiveDatagram(doing, libc.MSG_DONTWAIT);
      } catch (error) {
        if (!(error instanceof FlatnetError) || error.code !== 'ENOBUFS') throw error;
        overrun = true;
        continue;
      }
      if (data === undefined) return { acks, messages, overrun };
      for (const message of decodeMessages(data)) {
        if (message.type === NLMSG_ERROR) acks.push(decodeAck(message));
        else messages.push(message);
      }
    }
  }

  /** Joins a multicast group by number (RTNLGRP_…). */
  joinGroup(group: number): void {
    libc.setsockopt(this.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group, 'listen to what the kernel tells');
  }

  /** The kernel's number for this socket: notifications of what it asked for bear it. */
  portId(): number {
    // struct sockaddr_nl: family, padding, port.
    return libc.getsockname(this.fd).readUInt32LE(4);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    libc.close(this.fd);
  }

  #dumpOnce(request: NetlinkRequest, doing: string): NetlinkMessage[] | undefined {
    const seq = this.reserveSequence(1);
    const flags = NLM_F_REQUEST | NLM_F_DUMP | (request.flags ?? 0);
    this.#send(encodeMessage(request.type, flags, seq, request.body), doing);
    const found: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#receive(doing)) {
        if (message.seq !== seq) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type !== NLMSG_DONE && message.type !== NLMSG_ERROR) {
          found.push(message);
          continue;
        }
        const ack = decodeAck(message);
        if (ack.errno === ERRNO.EINTR) return undefined;
        if (ack.errno !== 0) throw ackError(doing, ack);
        return interrupted ? undefined : found;
      }
    }
  }

  #answers(seq: number, doing: string): NetlinkMessage[] {
    const answers: NetlinkMessage[] = [];
    for (;;) {
      for (const message of this.#receive(doing)) {
        if (message.seq !== seq) continue;
        if (message.type !== NLMSG_ERROR) {
          answers.push(message);
          continue;
        }
        const ack = decodeAck(message);
        if (ack.errno !== 0) throw ackError(doing, ack);
        return answers;
      }
    }
  }

  #send(data: Uint8Array, doing: string): void {
    if (this.#closed) throw new FlatnetError(`${doing}: the netlink socket is closed`, { code: 'EBADF' });
    libc.send(this.fd, data, 0, doing);
  }

  #receive(doing: string): NetlinkMessage[] {
    const data = this.#receiveDatagram(doing, 0);
    if (data === undefined) throw errnoError(doing, ERRNO.ETIMEDOUT, 'no answer on the netlink socket');
    const messages = decodeMessages(data).filter((message) => message.type !== NLMSG_NOOP);
    if (messages.some((message) => message.type === NLMSG_OVERRUN)) throw errnoError(doing, ERRNO.ENOBUFS);
    return messages;
  }

  #receiveDatagram(doing: string, flags: number): Buffer | undefined {
    receiveBuffer ??= Buffer.allocUnsafeSlow(RECEIVE_SIZE);
    const length = libc.recv(this.fd, receiveBuffer, flags | libc.MSG_TRUNC, doing);
    if (length === undefined) return undefined;
    if (length > receiveBuffer.length) {
      throw errnoError(doing, ERRNO.EMSGSIZE, `an answer of ${length} bytes does not fit`);
    }
    return Buffer.from(receiveBuffer.subarray(0, length));
  }

  #growSendBuffer(size: number): void {
    // A datagram must fit into the send buffer less 32 bytes (netlink_sendmsg), else EMSGSIZE; the option's value
    // is doubled by the kernel.
    const wanted = Math.max(size, 128 * 1024);
    if (wanted <= this.#sendBuffer) return;
    libc.setsockopt(this.fd, libc.SOL_SOCKET, libc.SO_SNDBUFFORCE, wanted, 'program the kernel over netlink');
    this.#sendBuffer = wanted;
  }
}

/** The error that an acknowledgement tells, in the kernel's own words. */
export function ackError(doing: string, ack: NetlinkAck): FlatnetError {
  const where = ack.offset === undefined ? '' : ` [attribute at byte ${ack.offset} of the request]`;
  const missing = ack.missingType === undefined ? '' : ` [missing attribute type ${ack.missingType}]`;
  const words = ack.message === undefined ? undefined : `${ack.message}${where}${missing}`;
  return errnoError(
    doing,
    ack.errno,
    words ?? (where + missing === '' ? undefined : (where + missing).trim()),
  );
}

function inNetns<T>(netns: string | number | undefined, action: () => T): T {
  if (netns === undefined) return action();
  if (typeof netns === 'number') return withNetns(netns, action);
  const opened = Netns.open(netns);
  try {
    return opened.run(action);
  } finally {
    opened.close();
  }
}

function setReceiveBuffer(fd: number, size: number): void {
  try {
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, size, 'listen to what the kernel tells');
  } catch (error) {
    // Without CAP_NET_ADMIN in the initial user namespace the ordinary limit (net.core.rmem_max) applies.
    if (!(error instanceof FlatnetError) || error.code !== 'EPERM') throw error;
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUF, size);
  }
}
