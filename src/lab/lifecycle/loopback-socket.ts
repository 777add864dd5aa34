import { FlatnetError } from '../../errors/flatnet-error.ts';
import * as libc from '../../kernel/libc/libc.ts';

/** The usual port of an API server; further labs take the next free ones. */
const FIRST_PORT = 6443;
const PORTS_TRIED = 200;

export interface LoopbackSocket {
  readonly fd: number;
  readonly port: number;
}

/** A listening socket on 127.0.0.1 of the host; with port 0 the first free one from 6443 on. Throws PORT_TAKEN. */
export function listenOnLoopback(port: number): LoopbackSocket {
  if (port !== 0) {
    const fd = tryListen(port);
    if (fd !== undefined) return { fd, port };
    throw new FlatnetError(`port ${port} on 127.0.0.1 is taken`, {
      code: 'PORT_TAKEN',
      hint: 'choose another --api-port, or leave it out for a free one',
    });
  }
  for (let candidate = FIRST_PORT; candidate < FIRST_PORT + PORTS_TRIED; candidate += 1) {
    const fd = tryListen(candidate);
    if (fd !== undefined) return { fd, port: candidate };
  }
  throw new FlatnetError(
    `ports ${FIRST_PORT} to ${FIRST_PORT + PORTS_TRIED - 1} on 127.0.0.1 are all taken`,
    {
      code: 'PORT_TAKEN',
      hint: 'name a free one with --api-port',
    },
  );
}

/** Undefined where another socket has the port. */
function tryListen(port: number): number | undefined {
  const fd = libc.socket(libc.AF_INET, libc.SOCK_STREAM | libc.SOCK_NONBLOCK, 0);
  try {
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_REUSEADDR, 1);
    libc.bind(fd, loopbackAddress(port), `listen on 127.0.0.1 port ${port}`);
    libc.listen(fd, 511);
    return fd;
  } catch (error) {
    libc.close(fd);
    if (error instanceof FlatnetError && error.code === 'EADDRINUSE') return undefined;
    throw error;
  }
}

/** struct sockaddr_in, ip(7): family in host order, port and address in network order. */
function loopbackAddress(port: number): Buffer {
  const address = Buffer.alloc(16);
  address.writeUInt16LE(libc.AF_INET, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  return address;
}
