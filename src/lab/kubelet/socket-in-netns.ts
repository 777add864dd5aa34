import { Socket } from 'node:net';
import { AF_INET, AF_INET6, SOCK_NONBLOCK, SOCK_STREAM, socket } from '../../kernel/libc/libc.ts';
import { withNetns } from '../../kernel/netns/netns.ts';
import { Ip } from '../../net/ip.ts';

/** A TCP connection made from within another network namespace, given by descriptor. */
export function connectFrom(netns: number, host: string, port: number): Socket {
  const { family } = Ip.parse(host);
  const fd = withNetns(netns, () =>
    socket(family === 4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0),
  );
  // Paused: reading from a socket that is not connected yet would end it with ENOTCONN.
  const options = { fd, readable: true, writable: true, pauseOnCreate: true };
  const connection = new Socket(options);
  connection.once('connect', () => connection.resume());
  connection.connect({ host, port, family });
  return connection;
}
