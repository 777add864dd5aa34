import { Socket } from 'node:net';
import * as libc from '../libc/libc.ts';
import type { NetlinkSocket } from './socket.ts';

/**
 * Hands a netlink socket that does not block to libuv. `net.Socket` takes descriptors of TCP and unix sockets only, so
 * it gets one end of a unix pair, and the netlink socket then takes that descriptor's number: within this call, before
 * libuv adds it to epoll in the next turn of the loop. Every chunk that is read is one datagram; ENOBUFS comes as an
 * error, after which the socket is of no use.
 */
export function readableNetlink(netlink: NetlinkSocket): Socket {
  const [end, other] = libc.socketpair(libc.AF_UNIX, libc.SOCK_STREAM);
  const socket = new Socket({ fd: end, readable: true, writable: false });
  libc.dup2(netlink.fd, end);
  netlink.close();
  libc.close(other);
  socket.unref();
  return socket;
}
