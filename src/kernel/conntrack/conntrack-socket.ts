import { FlatnetError } from '../../errors/flatnet-error.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';
import {
  decodeFlow,
  encodeFilter,
  encodeFlow,
  encodeReply,
  IPCTNL_MSG_CT_DELETE,
  IPCTNL_MSG_CT_GET,
} from './codec.ts';
import {
  matchesFilter,
  type ConntrackKernel,
  type Flow,
  type FlowFilter,
  type ReplyLookup,
} from './objects.ts';

/** The connection tracking table over ctnetlink. */
export class ConntrackSocket implements ConntrackKernel {
  readonly #socket: NetlinkSocket;

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** `netns`: descriptor of the network namespace; the caller's own when absent. */
  static open(netns?: number): ConntrackSocket {
    return new ConntrackSocket(NetlinkSocket.open(NETLINK_NETFILTER, netns === undefined ? {} : { netns }));
  }

  list(filter: FlowFilter): Flow[] {
    const request = { type: IPCTNL_MSG_CT_GET, body: encodeFilter(filter) };
    const flows: Flow[] = [];
    for (const message of this.#socket.dump(request, 'list tracked connections')) {
      const flow = decodeFlow(message.body);
      if (flow !== undefined && matchesFilter(flow, filter)) flows.push(flow);
    }
    return flows;
  }

  findByReply(lookup: ReplyLookup): Flow | undefined {
    const { destination, destinationPort } = lookup.reply;
    const doing = `look up the tracked connection of ${destination} port ${destinationPort}`;
    try {
      const [answer] = this.#socket.request({ type: IPCTNL_MSG_CT_GET, body: encodeReply(lookup) }, doing);
      return answer === undefined ? undefined : decodeFlow(answer.body);
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  delete(flow: Flow): boolean {
    const { source, destination, destinationPort } = flow.original;
    const doing = `delete tracked connection from ${source} to ${destination} port ${destinationPort}`;
    try {
      this.#socket.request({ type: IPCTNL_MSG_CT_DELETE, body: encodeFlow(flow) }, doing);
      return true;
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  close(): void {
    this.#socket.close();
  }
}
