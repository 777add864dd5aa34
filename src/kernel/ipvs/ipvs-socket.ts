import { FlatnetError } from '../../errors/flatnet-error.ts';
import { findGenericFamily, NETLINK_GENERIC } from '../netlink/generic.ts';
import { MessageBuilder, NLM_F_ACK, NLM_F_REQUEST, type NetlinkMessage } from '../netlink/message.ts';
import { ackError, NetlinkSocket } from '../netlink/socket.ts';
import {
  decodeDestination,
  decodeInfo,
  decodeServer,
  decodeTimeouts,
  IPVS_CMD,
  IPVS_FAMILY,
  writeChange,
  writeCommand,
  writeServerCommand,
  writeTimeouts,
} from './codec.ts';
import {
  describeIpvsChange,
  serverText,
  type IpvsChange,
  type IpvsInfo,
  type IpvsKernel,
  type IpvsRefusal,
  type IpvsTimeouts,
  type ObservedRealServer,
  type VirtualServer,
  type VirtualServerKey,
} from './objects.ts';

/** So many changes go into one datagram: each is an error that may have to be told in the receive buffer. */
const BATCH = 256;

/** IPVS over generic netlink. */
export class IpvsSocket implements IpvsKernel {
  readonly #socket: NetlinkSocket;
  readonly #family: number;

  private constructor(socket: NetlinkSocket, family: number) {
    this.#socket = socket;
    this.#family = family;
  }

  /**
   * `netns`: descriptor of the network namespace; the caller's own when absent. Undefined where the kernel has no IPVS
   * and could not load it.
   */
  static open(netns?: number): IpvsSocket | undefined {
    const socket = NetlinkSocket.open(NETLINK_GENERIC, netns === undefined ? {} : { netns });
    const family = findGenericFamily(socket, IPVS_FAMILY);
    if (family !== undefined) return new IpvsSocket(socket, family);
    socket.close();
    return undefined;
  }

  virtualServers(): VirtualServer[] {
    return this.#dumpServers()
      .map((message) => decodeServer(message.body))
      .filter((server) => server !== undefined);
  }

  countServers(): number {
    return this.#dumpServers().length;
  }

  virtualServer(key: VirtualServerKey): VirtualServer | undefined {
    const body = new MessageBuilder(128);
    writeServerCommand(body, IPVS_CMD.GET_SERVICE, key);
    try {
      const [answer] = this.#request(body, `read virtual server ${serverText(key)}`);
      return answer && decodeServer(answer);
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ESRCH') return undefined;
      throw error;
    }
  }

  realServers(server: VirtualServerKey): ObservedRealServer[] {
    const body = new MessageBuilder(128);
    writeServerCommand(body, IPVS_CMD.GET_DEST, server);
    const request = { type: this.#family, body: body.finish() };
    // The kernel answers with an empty list where it does not know the virtual server.
    return this.#socket
      .dump(request, `list real servers of ${serverText(server)}`)
      .map((message) => decodeDestination(message.body))
      .filter((destination) => destination !== undefined);
  }

  apply(changes: readonly IpvsChange[]): IpvsRefusal[] {
    const refusals: IpvsRefusal[] = [];
    for (let from = 0; from < changes.length; from += BATCH) {
      this.#applyBatch(changes.slice(from, from + BATCH), refusals);
    }
    return refusals;
  }

  timeouts(): IpvsTimeouts {
    const body = writeCommand(new MessageBuilder(16), IPVS_CMD.GET_CONFIG);
    const [answer] = this.#request(body, 'read the timeouts of IPVS');
    return answer === undefined ? { tcp: 0, tcpFin: 0, udp: 0 } : decodeTimeouts(answer);
  }

  setTimeouts(timeouts: Partial<IpvsTimeouts>): void {
    const body = new MessageBuilder(64);
    writeTimeouts(body, timeouts);
    this.#request(body, 'set the timeouts of IPVS');
  }

  info(): IpvsInfo {
    const body = writeCommand(new MessageBuilder(16), IPVS_CMD.GET_INFO);
    const [answer] = this.#request(body, 'read what IPVS says of itself');
    return answer === undefined ? { version: '', connectionTableSize: 0 } : decodeInfo(answer);
  }

  flush(): void {
    this.#request(writeCommand(new MessageBuilder(16), IPVS_CMD.FLUSH), 'flush IPVS');
  }

  close(): void {
    this.#socket.close();
  }

  #dumpServers(): NetlinkMessage[] {
    const body = writeCommand(new MessageBuilder(16), IPVS_CMD.GET_SERVICE).finish();
    return this.#socket.dump({ type: this.#family, body }, 'list virtual servers');
  }

  #request(body: MessageBuilder, doing: string): Buffer[] {
    return this.#socket
      .request({ type: this.#family, body: body.finish() }, doing)
      .map((message) => message.body);
  }

  #applyBatch(changes: readonly IpvsChange[], refusals: IpvsRefusal[]): void {
    const firstSeq = this.#socket.reserveSequence(changes.length);
    const builder = new MessageBuilder(changes.length * 128);
    changes.forEach((change, index) => {
      // Only errors are told, but for the last: that it was acknowledged tells that all were looked at.
      const flags = NLM_F_REQUEST | (index === changes.length - 1 ? NLM_F_ACK : 0);
      builder.begin(this.#family, flags, firstSeq + index);
      writeChange(builder, change);
      builder.end();
    });
    const { acks, overrun } = this.#socket.sendBatch(builder.finish(), 'program IPVS');
    if (overrun || acks.length === 0) {
      const why = overrun
        ? 'the kernel told more errors than there was room for'
        : 'the kernel gave no answer';
      throw new FlatnetError(`program IPVS: ${why}`, { code: 'ENOBUFS', retryable: true });
    }
    for (const ack of acks) {
      const change = changes[ack.seq - firstSeq];
      if (ack.errno === 0 || change === undefined) continue;
      refusals.push({ change, error: ackError(`program IPVS (${describeIpvsChange(change)})`, ack) });
    }
  }
}
