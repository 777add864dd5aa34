import { FlatnetError } from '../../errors/flatnet-error.ts';
import { listenTcp } from '../../kernel/netns/listen.ts';
import { Ip } from '../../net/ip.ts';

const LOOPBACK = Ip.parse('127.0.0.1');
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
  try {
    return listenTcp(LOOPBACK, port);
  } catch (error) {
    if (error instanceof FlatnetError && error.code === 'EADDRINUSE') return undefined;
    throw error;
  }
}
