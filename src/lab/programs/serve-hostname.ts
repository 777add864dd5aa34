import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { hostname } from 'node:os';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Flags } from './flags.ts';
import { drain, listenOn } from './http-program.ts';
import { logLine, terminationSignal, type Program } from './program.ts';
import { socketText } from './socket-text.ts';

const NAME = 'serve-hostname';
const DRAIN_MS = 25_000;

type Stop = () => void | Promise<void>;

/** agnhost's serve-hostname (kubernetes/kubernetes, test/images/agnhost/serve-hostname): the pod's name, no more. */
export const program: Program = async (args) => {
  const flags = Flags.parse(
    NAME,
    [
      { name: 'port', kind: 'integer', fallback: 9376 },
      { name: 'http', kind: 'boolean', fallback: true },
      { name: 'tcp', kind: 'boolean', fallback: false },
      { name: 'udp', kind: 'boolean', fallback: false },
      { name: 'close', kind: 'boolean', fallback: false },
    ],
    args,
  );
  const raw = flags.boolean('tcp') || flags.boolean('udp');
  if (flags.boolean('http') && raw) {
    throw new FlatnetError(`${NAME}: TCP or UDP and HTTP cannot be served at the same time`, {
      code: 'USAGE',
      hint: 'add --http=false',
    });
  }
  const port = flags.integer('port');
  const stops: Stop[] = [];
  if (flags.boolean('tcp')) stops.push(await serveTcp(port));
  if (flags.boolean('udp')) stops.push(await serveUdp(port));
  if (flags.boolean('http')) stops.push(await serveHttp(port, flags.boolean('close')));
  logLine(`Serving on port ${port}.`);
  logLine(`Shutting down after receiving signal: ${await terminationSignal()}.`);
  await Promise.all(stops.map(async (stop) => stop()));
  return 0;
};

async function serveHttp(port: number, close: boolean): Promise<Stop> {
  const server = createHttpServer((request, response) => {
    logLine(`HTTP request from ${socketText(request.socket.remoteAddress, request.socket.remotePort)}`);
    response.writeHead(200, {
      'content-type': 'text/plain; charset=utf-8',
      ...(close && { connection: 'close' }),
    });
    response.end(hostname());
  });
  await listenOn(server, port, NAME);
  return async () => drain(server, DRAIN_MS);
}

async function serveTcp(port: number): Promise<Stop> {
  const server = createTcpServer((socket) => {
    logLine(`TCP request from ${socketText(socket.remoteAddress, socket.remotePort)}`);
    socket.on('error', (error) => logLine(error.message));
    // What the client sends is read and dropped; unread octets would turn the close into a reset.
    socket.resume();
    socket.end(hostname());
  });
  await listenOn(server, port, NAME);
  return () => void server.close();
}

async function serveUdp(port: number): Promise<Stop> {
  const socket = createSocket('udp6');
  socket.on('message', (_message, from) => {
    logLine(`UDP request from ${socketText(from.address, from.port)}`);
    socket.send(hostname(), from.port, from.address, (error) => {
      if (error !== null) logLine(error.message);
    });
  });
  socket.bind({ port, exclusive: true });
  await once(socket, 'listening');
  socket.on('error', (error) => logLine(error.message));
  return () => void socket.close();
}
