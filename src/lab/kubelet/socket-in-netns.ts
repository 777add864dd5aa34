import { Socket } from 'node:net';
import { tcpSocket } from '../../kernel/netns/listen.ts';
import { Ip } from '../../net/ip.ts';

/** A TCP connection made from within another network namespace, given by descriptor. */
export function connectFrom(netns: number, host: string, port: number): Socket {
  const { family } = Ip.parse(host);
  const fd = tcpSocket(family, netns);
  // Paused: reading from a socket that is not connected yet would end it with ENOTCONN.
  const options = { fd, readable: true, writable: true, pauseOnCreate: true };
  const connection = new Socket(options);
  connection.once('connect', () => connection.resume());
  connection.connect({ host, port, family });
  return connection;
}
