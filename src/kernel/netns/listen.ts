import { unlinkSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Ip } from '../../net/ip.ts';
import * as libc from '../libc/libc.ts';
import { withNetns } from './netns.ts';

export interface ListenOptions {
  /** Descriptor of the network namespace; the own one when absent. */
  readonly netns?: number;
  readonly backlog?: number;
  /** Several sockets share the port, connections are spread over them. */
  readonly reusePort?: boolean;
  /** For `::`: accept IPv4 too. */
  readonly dualStack?: boolean;
  /**
   * The address need not be on a device. Of addresses that only a local route brings to the machine IPv4 knows, IPv6
   * does not.
   */
  readonly freeBind?: boolean;
}

/**
 * A TCP socket that already listens inside a namespace. Give the descriptor to `server.listen({ fd })`, which then
 * owns it. Port 0 lets the kernel choose; `localPort` tells which. Throws EADDRINUSE, EADDRNOTAVAIL.
 */
export function listenTcp(host: Ip, port: number, options: ListenOptions = {}): number {
  return open(options.netns, libc.SOCK_STREAM, host, (fd) => {
    const doing = `listen on TCP ${endpoint(host, port)}`;
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 1);
    if (options.reusePort === true) libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_REUSEPORT, 1);
    limitFamily(fd, host, options);
    allowAnywhere(fd, options);
    libc.bind(fd, sockaddr(host, port), doing);
    libc.listen(fd, options.backlog ?? 511, doing);
  });
}

/** A UDP socket bound inside a namespace, for `dgramSocket.bind({ fd })`: which emits `listening` before it returns. */
export function bindUdp(host: Ip, port: number, options: ListenOptions = {}): number {
  return open(options.netns, libc.SOCK_DGRAM, host, (fd) => {
    if (options.reusePort === true) libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_REUSEPORT, 1);
    limitFamily(fd, host, options);
    allowAnywhere(fd, options);
    libc.bind(fd, sockaddr(host, port), `bind UDP ${endpoint(host, port)}`);
  });
}

/**
 * An unconnected TCP socket that belongs to a namespace: `new net.Socket({ fd }).connect(…)` then connects from
 * there.
 */
export function tcpSocket(family: 4 | 6, netns: number): number {
  return withNetns(netns, () => libc.socket(domainOf(family), libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0));
}

/** A listening unix socket; a file left by a dead process is replaced. Unix paths do not depend on the namespace. */
export function listenUnix(path: string, backlog = 511): number {
  const text = Buffer.from(path);
  // sun_path of <sys/un.h> has 108 bytes, the terminating NUL included.
  if (text.length > 107) {
    throw new FlatnetError(`unix socket path ${path} is longer than 107 bytes`, { code: 'ENAMETOOLONG' });
  }
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const address = Buffer.alloc(2 + text.length + 1);
  address.writeUInt16LE(libc.AF_UNIX, 0);
  text.copy(address, 2);
  return guarded(libc.socket(libc.AF_UNIX, libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0), (fd) => {
    libc.bind(fd, address, `listen on ${path}`);
    libc.listen(fd, backlog, `listen on ${path}`);
  });
}

/** The port that a TCP or UDP socket is bound to. */
export function localPort(fd: number): number {
  return libc.getsockname(fd).readUInt16BE(2);
}

/** The socket address of <netinet/in.h>: sockaddr_in or sockaddr_in6. */
function sockaddr(host: Ip, port: number): Buffer {
  const address = Buffer.alloc(host.family === 4 ? 16 : 28);
  address.writeUInt16LE(domainOf(host.family), 0);
  address.writeUInt16BE(port, 2);
  address.set(host.toBytes(), host.family === 4 ? 4 : 8);
  return address;
}

function open(netns: number | undefined, type: number, host: Ip, prepare: (fd: number) => void): number {
  const create = (): number => libc.socket(domainOf(host.family), type | libc.SOCK_NONBLOCK, 0);
  return guarded(netns === undefined ? create() : withNetns(netns, create), prepare);
}

function guarded(fd: number, prepare: (fd: number) => void): number {
  try {
    prepare(fd);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function limitFamily(fd: number, host: Ip, options: ListenOptions): void {
  if (host.family === 6) {
    libc.setsockopt(fd, libc.IPPROTO_IPV6, libc.IPV6_V6ONLY, options.dualStack === true ? 0 : 1);
  }
}

function allowAnywhere(fd: number, { freeBind }: ListenOptions): void {
  // Of IPv6 sockets too: both options set the same flag.
  if (freeBind === true) libc.setsockopt(fd, libc.IPPROTO_IP, libc.IP_FREEBIND, 1);
}

function domainOf(family: 4 | 6): number {
  return family === 4 ? libc.AF_INET : libc.AF_INET6;
}

function endpoint(host: Ip, port: number): string {
  return host.family === 4 ? `${host.toString()}:${port}` : `[${host.toString()}]:${port}`;
}
