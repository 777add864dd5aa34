import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, Socket, type Server } from 'node:net';
import { listenTcp, localPort, tcpSocket } from '../../../../src/kernel/netns/listen.ts';
import { Ip, type IpFamily } from '../../../../src/net/ip.ts';
import type { Party } from './scene.ts';
import { SLOWNESS } from './subject.ts';

const CHUNK = Buffer.from(randomBytes(1 << 20));

export interface Transferred {
  /** SHA-256 of what was sent and of what arrived. */
  readonly sent: string;
  readonly arrived: string;
  /** Who the server thinks it talks to. */
  readonly source: string;
}

/** Sends bytes over TCP; both ends are in this process, in the namespaces of the two. Throws when it takes too long. */
export async function transfer(
  from: Party,
  to: Party,
  family: IpFamily,
  bytes: number,
): Promise<Transferred> {
  const ip = to.ip(family);
  const fd = listenTcp(Ip.parse(ip), 0, { netns: to.netns.fd });
  const port = localPort(fd);
  const server = createServer({ allowHalfOpen: true });
  const seen = receive(server);
  server.listen({ fd });
  const socket = new Socket({ fd: tcpSocket(family, from.netns.fd), allowHalfOpen: true });
  socket.setTimeout(10_000 * SLOWNESS, () => {
    socket.destroy(new Error(`TCP from ${from.name} to ${to.name} (${ip}) does not go on`));
  });
  try {
    socket.connect(port, ip);
    await once(socket, 'connect');
    const sent = await send(socket, bytes);
    let answer = '';
    for await (const data of socket) answer += String(data);
    const { source } = await seen;
    return { sent, arrived: answer, source };
  } finally {
    socket.destroy();
    server.close();
  }
}

/** Answers with the digest of what came when all has come. */
async function receive(server: Server): Promise<{ readonly source: string }> {
  const [connection] = (await once(server, 'connection')) as [Socket];
  const source = connection.remoteAddress ?? '';
  const hash = createHash('sha256');
  connection.on('data', (data) => hash.update(data));
  connection.on('end', () => connection.end(hash.digest('hex')));
  // The client tells of it.
  connection.on('error', () => undefined);
  return { source };
}

async function send(socket: Socket, bytes: number): Promise<string> {
  const hash = createHash('sha256');
  for (let left = bytes, index = 0; left > 0; left -= CHUNK.length, index += 1) {
    const part = Buffer.from(CHUNK.subarray(0, Math.min(left, CHUNK.length)));
    // No two chunks are alike: one that came twice, or at another's place, would be noticed.
    part.writeUInt32LE(index, 0);
    hash.update(part);
    if (!socket.write(part)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}
