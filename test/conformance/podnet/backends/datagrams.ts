import { createSocket, type Socket } from 'node:dgram';
import { FlatnetError } from '../../../../src/errors/flatnet-error.ts';
import * as libc from '../../../../src/kernel/libc/libc.ts';
import { bindUdp, localPort } from '../../../../src/kernel/netns/listen.ts';
import { withNetns } from '../../../../src/kernel/netns/netns.ts';
import { Ip, type IpFamily } from '../../../../src/net/ip.ts';
import type { Party } from './scene.ts';

// <linux/in.h>, <linux/in6.h>
const IP_RECVERR = 11;
const IP_MTU_DISCOVER = 10;
const IPV6_MTU_DISCOVER = 23;
const IPV6_RECVERR = 25;
const IPV6_DONTFRAG = 62;
/** Packets may be divided; must not be (and the path's MTU is kept). */
const DISCOVER = { divide: 0, whole: 2 } as const;

/** Bytes before the payload: IP and UDP. */
const HEADERS: Readonly<Record<IpFamily, number>> = { 4: 28, 6: 48 };

/** A UDP socket at one party, connected to a port of another, that hears what routers say of its packets. */
export class DatagramSender {
  readonly #fd: number;
  readonly #family: IpFamily;

  constructor(from: Pick<Party, 'netns'>, ip: string, port: number, packets: keyof typeof DISCOVER) {
    const family = Ip.parse(ip).family;
    this.#family = family;
    const domain = family === 4 ? libc.AF_INET : libc.AF_INET6;
    this.#fd = withNetns(from.netns.fd, () => libc.socket(domain, libc.SOCK_DGRAM | libc.SOCK_NONBLOCK, 0));
    if (family === 4) {
      libc.setsockopt(this.#fd, libc.IPPROTO_IP, IP_MTU_DISCOVER, DISCOVER[packets]);
      libc.setsockopt(this.#fd, libc.IPPROTO_IP, IP_RECVERR, 1);
    } else {
      libc.setsockopt(this.#fd, libc.IPPROTO_IPV6, IPV6_MTU_DISCOVER, DISCOVER[packets]);
      libc.setsockopt(this.#fd, libc.IPPROTO_IPV6, IPV6_DONTFRAG, Number(packets === 'whole'));
      libc.setsockopt(this.#fd, libc.IPPROTO_IPV6, IPV6_RECVERR, 1);
    }
    libc.connect(this.#fd, socketAddress(Ip.parse(ip), port));
  }

  /** Sends an IP packet of this size, with `id` at the start of its payload. Returns the name of the error, or ''. */
  send(size: number, id: number): string {
    const payload = Buffer.alloc(size - HEADERS[this.#family]);
    payload.writeUInt32BE(id, 0);
    return codeOf(() => libc.send(this.#fd, payload));
  }

  /** The name of an error that somebody on the way has sent since, or ''. */
  error(): string {
    return codeOf(() => libc.recv(this.#fd, Buffer.alloc(16)));
  }

  close(): void {
    libc.close(this.#fd);
  }
}

/** A UDP socket at one party that keeps the ids of what arrives. */
export class DatagramReceiver {
  readonly port: number;
  readonly ids = new Set<number>();
  readonly #socket: Socket;

  constructor(at: Pick<Party, 'netns' | 'ip'>, family: IpFamily) {
    const fd = bindUdp(Ip.parse(at.ip(family)), 0, { netns: at.netns.fd });
    // Both ends are in this process: what is sent in one turn has to wait here.
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVBUFFORCE, 8 << 20);
    this.port = localPort(fd);
    this.#socket = createSocket(family === 4 ? 'udp4' : 'udp6');
    this.#socket.on('message', (data) => this.ids.add(data.readUInt32BE(0)));
    this.#socket.bind({ fd });
  }

  close(): void {
    this.#socket.close();
  }
}

function codeOf(action: () => unknown): string {
  try {
    action();
    return '';
  } catch (error) {
    if (error instanceof FlatnetError) return error.code;
    throw error;
  }
}

/** sockaddr_in or sockaddr_in6 of <netinet/in.h>. */
function socketAddress(ip: Ip, port: number): Buffer {
  const address = Buffer.alloc(ip.family === 4 ? 16 : 28);
  address.writeUInt16LE(ip.family === 4 ? libc.AF_INET : libc.AF_INET6, 0);
  address.writeUInt16BE(port, 2);
  address.set(ip.toBytes(), ip.family === 4 ? 4 : 8);
  return address;
}
