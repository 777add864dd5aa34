import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { describeError } from '../errors/flatnet-error.ts';
import { listenFailure, type ListenAddress } from './listen-address.ts';

export interface HttpReply {
  readonly status: number;
  readonly body: string;
  readonly contentType?: string;
}

/** Serves one path by GET; throws with the address and the reason when it cannot be bound. */
export async function serveHttp(
  what: string,
  address: ListenAddress,
  path: string,
  reply: () => HttpReply | Promise<HttpReply>,
): Promise<Server> {
  const server = createServer((request, response) => {
    void respond(request.url ?? '', path, reply).then(({ status, body, contentType }) => {
      response.writeHead(status, { 'content-type': contentType ?? 'text/plain; charset=utf-8' });
      response.end(body);
    });
  });
  server.listen({ port: address.port, ...(address.ip !== undefined && { host: address.ip.toString() }) });
  try {
    await once(server, 'listening');
  } catch (error) {
    throw listenFailure(what, address, error);
  }
  return server;
}

async function respond(
  url: string,
  path: string,
  reply: () => HttpReply | Promise<HttpReply>,
): Promise<HttpReply> {
  if (url.split('?')[0] !== path) return { status: 404, body: `not found; try ${path}\n` };
  try {
    return await reply();
  } catch (error) {
    return { status: 500, body: `${describeError(error)}\n` };
  }
}
