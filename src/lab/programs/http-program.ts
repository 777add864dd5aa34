import { once } from 'node:events';
import type { IncomingMessage, Server } from 'node:http';
import type { Server as TcpServer } from 'node:net';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** Listens on every address; throws naming program, port and reason. */
export async function listenOn(server: TcpServer, port: number, what: string): Promise<void> {
  server.listen({ port });
  try {
    await once(server, 'listening');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'LISTEN_FAILED';
    throw new FlatnetError(`${what} cannot listen on port ${port}: ${code}`, { code, cause: error });
  }
}

/**
 * Stops taking connections and resolves when the requests in work are answered, or after `graceMs`. Connections
 * that are kept alive without a request are closed, and told so with the last answer on them.
 */
export async function drain(server: Server, graceMs: number): Promise<void> {
  const closed = once(server, 'close');
  server.on('request', (_request, response) => response.setHeader('connection', 'close'));
  server.close();
  server.closeIdleConnections();
  // A connection whose last answer went out after the first look is idle only now.
  const sweep = setInterval(() => server.closeIdleConnections(), 50);
  const force = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearInterval(sweep);
  clearTimeout(force);
}

const BODY_LIMIT = 16_384;

/** The body as text; throws BODY_TOO_LARGE past `limit` octets. */
export async function readBody(request: IncomingMessage, limit = BODY_LIMIT): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) {
      throw new FlatnetError(`the body is larger than ${limit} octets`, { code: 'BODY_TOO_LARGE' });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
