import { FlatnetError } from '../../errors/flatnet-error.ts';
import { errnoError } from '../libc/errno.ts';
import { MessageBuilder, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST } from '../netlink/message.ts';
import { NETLINK_NETFILTER, NetlinkSocket } from '../netlink/socket.ts';
import {
  decodeListed,
  decodeRevision,
  IPSET_CMD,
  ipsetMessageType,
  writeCreate,
  writeEntry,
  writeHead,
  writeList,
  writeSwap,
  writeTypeQuery,
} from './codec.ts';
import {
  describeIpsetChange,
  type Ipset,
  type IpsetChange,
  type IpsetKernel,
  type IpsetRefusal,
  type ObservedIpset,
} from './objects.ts';

/** So many changes go into one datagram: each is an error that may have to be told in the receive buffer. */
const BATCH = 512;

/** enum ipset_errno; 4352 is what types count from: the hash types' first is that the set is full. */
const ERRORS: Readonly<Record<number, readonly [code: string, text: string]>> = {
  4097: ['IPSET_PROTOCOL', 'the kernel speaks another version'],
  4098: ['IPSET_NO_TYPE', 'the kernel does not have this type of set'],
  4099: ['IPSET_TOO_MANY', 'there are too many sets'],
  4100: ['IPSET_BUSY', 'a rule looks at it'],
  4101: ['IPSET_EXISTS', 'there is one of that name'],
  4102: ['IPSET_TYPE_MISMATCH', 'the sets are of different types'],
  4103: ['IPSET_EXISTS', 'it is there already'],
  4104: ['IPSET_INVALID_CIDR', 'the prefix length is not supported'],
  4106: ['IPSET_INVALID_FAMILY', 'the address family is not supported'],
  4108: ['IPSET_BUSY', 'a rule or set refers to it'],
  4352: ['IPSET_FULL', 'the set is full, or the value outside its range'],
};

/** ipset over nfnetlink. */
export class IpsetSocket implements IpsetKernel {
  readonly #socket: NetlinkSocket;
  readonly #revisions = new Map<string, number>();

  private constructor(socket: NetlinkSocket) {
    this.#socket = socket;
  }

  /** `netns`: descriptor of the network namespace; the caller's own when absent. */
  static open(netns?: number): IpsetSocket {
    return new IpsetSocket(NetlinkSocket.open(NETLINK_NETFILTER, netns === undefined ? {} : { netns }));
  }

  create(set: Ipset): void {
    const found = this.#observe(set.name);
    if (found === undefined) {
      const body = new MessageBuilder(128);
      writeCreate(body, set, this.#revision(set));
      this.#request(IPSET_CMD.CREATE, body, `create ipset ${set.name}`, NLM_F_CREATE | NLM_F_EXCL);
      return;
    }
    if (found.type === set.type && (set.type === 'bitmap:port' || found.family === set.family)) return;
    throw new FlatnetError(`create ipset ${set.name}: there is one of type ${found.type} already`, {
      code: 'IPSET_EXISTS',
      hint: `delete it: ipset destroy ${set.name}`,
    });
  }

  destroy(name: string): boolean {
    try {
      const body = writeHead(new MessageBuilder(64), name);
      // Without the flag newer kernels do not say that it was not there.
      this.#request(IPSET_CMD.DESTROY, body, `destroy ipset ${name}`, NLM_F_EXCL);
      return true;
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ENOENT') return false;
      throw error;
    }
  }

  sets(): ObservedIpset[] {
    return this.#list(undefined, true, 'list ipsets').map(({ set }) => set);
  }

  entries(name: string): string[] {
    return this.#list(name, false, `list ipset ${name}`).flatMap(({ entries }) => entries);
  }

  apply(changes: readonly IpsetChange[]): IpsetRefusal[] {
    const refusals: IpsetRefusal[] = [];
    const valid = changes.filter((change) => {
      const error = check(change);
      if (error !== undefined) refusals.push({ change, error });
      return error === undefined;
    });
    for (let from = 0; from < valid.length; from += BATCH) {
      this.#applyBatch(valid.slice(from, from + BATCH), refusals);
    }
    return refusals;
  }

  flush(name: string): void {
    this.#request(IPSET_CMD.FLUSH, writeHead(new MessageBuilder(64), name), `flush ipset ${name}`);
  }

  swap(one: string, other: string): void {
    const body = new MessageBuilder(128);
    writeSwap(body, one, other);
    this.#request(IPSET_CMD.SWAP, body, `swap ipsets ${one} and ${other}`);
  }

  close(): void {
    this.#socket.close();
  }

  #observe(name: string): ObservedIpset | undefined {
    try {
      return this.#list(name, true, `look for ipset ${name}`)[0]?.set;
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  #revision(set: Ipset): number {
    const key = `${set.type} ${set.family}`;
    let revision = this.#revisions.get(key);
    if (revision === undefined) {
      const body = new MessageBuilder(64);
      writeTypeQuery(body, set);
      const [answer] = this.#request(IPSET_CMD.TYPE, body, `find the ipset type ${set.type}`);
      revision = answer === undefined ? 0 : decodeRevision(answer);
      this.#revisions.set(key, revision);
    }
    return revision;
  }

  #list(
    name: string | undefined,
    headers: boolean,
    doing: string,
  ): { set: ObservedIpset; entries: string[] }[] {
    const body = new MessageBuilder(64);
    writeList(body, name, headers);
    const request = { type: ipsetMessageType(IPSET_CMD.LIST), body: body.finish() };
    return ipsetErrors(doing, () => this.#socket.dump(request, doing))
      .map((message) => decodeListed(message.body))
      .filter((listed) => listed !== undefined);
  }

  #request(command: number, body: MessageBuilder, doing: string, flags = 0): Buffer[] {
    const request = { type: ipsetMessageType(command), flags, body: body.finish() };
    return ipsetErrors(doing, () => this.#socket.request(request, doing)).map((message) => message.body);
  }

  #applyBatch(changes: readonly IpsetChange[], refusals: IpsetRefusal[]): void {
    const firstSeq = this.#socket.reserveSequence(changes.length);
    const builder = new MessageBuilder(changes.length * 128);
    changes.forEach((change, index) => {
      const command = change.operation === 'add' ? IPSET_CMD.ADD : IPSET_CMD.DEL;
      // Without NLM_F_EXCL what is done already is no error. That the last is acknowledged tells that all were done.
      const flags = NLM_F_REQUEST | (index === changes.length - 1 ? NLM_F_ACK : 0);
      builder.begin(ipsetMessageType(command), flags, firstSeq + index);
      writeEntry(builder, change.set, change.entry);
      builder.end();
    });
    const { acks, overrun } = this.#socket.sendBatch(builder.finish(), 'change ipsets');
    if (overrun || acks.length === 0) {
      throw new FlatnetError('change ipsets: the kernel did not tell what became of it', {
        code: 'ENOBUFS',
        retryable: true,
      });
    }
    for (const ack of acks) {
      const change = changes[ack.seq - firstSeq];
      if (ack.errno === 0 || change === undefined) continue;
      refusals.push({ change, error: errorOf(`change ipset (${describeIpsetChange(change)})`, ack.errno) });
    }
  }
}

function check(change: IpsetChange): FlatnetError | undefined {
  try {
    writeEntry(new MessageBuilder(128), change.set, change.entry);
    return undefined;
  } catch (error) {
    if (error instanceof FlatnetError) return error;
    throw error;
  }
}

function errorOf(doing: string, errno: number): FlatnetError {
  const known = ERRORS[errno];
  if (known === undefined) return errnoError(doing, errno);
  return new FlatnetError(`${doing}: ${known[0]}: ${known[1]}`, { code: known[0] });
}

/** ipset's own error numbers have no names in errno(3). */
function ipsetErrors<T>(doing: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    const number = error instanceof FlatnetError ? /^ERRNO_(\d+)$/.exec(error.code)?.[1] : undefined;
    throw number === undefined ? error : errorOf(doing, Number(number));
  }
}
