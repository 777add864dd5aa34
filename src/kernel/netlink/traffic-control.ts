import { FlatnetError } from '../../errors/flatnet-error.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from './message.ts';
import { NETLINK_ROUTE, NetlinkSocket } from './socket.ts';
import {
  decodeQueue,
  decodeRedirect,
  encodeFilterQuery,
  encodeIngressQueue,
  encodeQueueQuery,
  encodeRedirect,
  encodeRootQueue,
  encodeTokenBucket,
  type TokenBucket,
} from './tc-codec.ts';

const RTM = { NEWQDISC: 36, DELQDISC: 37, GETQDISC: 38, NEWTFILTER: 44, GETTFILTER: 46 } as const;

/** Queues and filters of one network namespace's devices, through rtnetlink. Devices are named by their index. */
export class TrafficControl {
  readonly #socket: NetlinkSocket;

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** `netns`: descriptor of the network namespace; the caller's own when absent. */
  static open(netns?: number): TrafficControl {
    return new TrafficControl(NetlinkSocket.open(NETLINK_ROUTE, netns === undefined ? {} : { netns }));
  }

  /** Lets packets leave the device at this rate; replaces the queue that it has. */
  shape(link: number, bucket: TokenBucket): void {
    const flags = NLM_F_CREATE | NLM_F_REPLACE;
    const request = { type: RTM.NEWQDISC, flags, body: encodeTokenBucket(link, bucket) };
    this.#request(request, `limit what leaves device ${link}`, 'sch_tbf', 'CONFIG_NET_SCH_TBF');
  }

  /** The limit that the device has; undefined: none. */
  shapeOf(link: number): TokenBucket | undefined {
    const request = { type: RTM.GETQDISC, body: encodeQueueQuery(link) };
    // Kernels without the filter by device tell of all.
    const queues = this.#socket
      .dump(request, `list queues of device ${link}`)
      .map(({ body }) => decodeQueue(body));
    return queues.find((queue) => queue.link === link && queue.isRoot)?.bucket;
  }

  unshape(link: number): void {
    const request = { type: RTM.DELQDISC, body: encodeRootQueue(link) };
    ignoring(['ENOENT', 'EINVAL'], () => this.#socket.request(request, `remove the limit of device ${link}`));
  }

  /** Whatever comes in by the device passes the other one's queue first, which must be an ifb device. */
  redirectIncoming(link: number, through: number): void {
    const doing = `lead what comes in by device ${link} through device ${through}`;
    this.undoRedirect(link);
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    const queue = { type: RTM.NEWQDISC, flags, body: encodeIngressQueue(link) };
    this.#request(queue, doing, 'sch_ingress', 'CONFIG_NET_SCH_INGRESS');
    const filter = { type: RTM.NEWTFILTER, flags, body: encodeRedirect(link, through) };
    this.#request(filter, doing, 'cls_u32, act_mirred', 'CONFIG_NET_CLS_U32 and CONFIG_NET_ACT_MIRRED');
  }

  /** The device that incoming packets pass; undefined: none. */
  redirectOf(link: number): number | undefined {
    const request = { type: RTM.GETTFILTER, body: encodeFilterQuery(link) };
    const doing = `list filters of device ${link}`;
    const filters = ignoring(['ENOENT', 'EINVAL'], () => this.#socket.dump(request, doing)) ?? [];
    return filters.map(({ body }) => decodeRedirect(body)).find((to) => to !== undefined);
  }

  undoRedirect(link: number): void {
    const request = { type: RTM.DELQDISC, body: encodeIngressQueue(link) };
    ignoring(['ENOENT', 'EINVAL'], () => this.#socket.request(request, `remove filters of device ${link}`));
  }

  close(): void {
    this.#socket.close();
  }

  #request(
    request: { readonly type: number; readonly flags: number; readonly body: Buffer },
    doing: string,
    modules: string,
    option: string,
  ): void {
    try {
      this.#socket.request(request, doing);
    } catch (cause) {
      if (!(cause instanceof FlatnetError) || cause.code !== 'ENOENT') throw cause;
      throw new FlatnetError(`${doing}: the kernel lacks ${modules}`, {
        code: 'KERNEL_LACKS',
        hint: `modprobe ${modules.replaceAll(',', '')}, or a kernel with ${option}`,
        cause,
      });
    }
  }
}

/** `codes`: what the kernel says where there is nothing of the kind. */
function ignoring<T>(codes: readonly string[], action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof FlatnetError && codes.includes(error.code)) return undefined;
    throw error;
  }
}
