import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { decode, encode, type Packet } from 'dns-packet';
import { afterEach, expect, test } from 'vitest';
import { Ip } from '../net/ip.ts';
import type { UpstreamServer } from './resolv-conf.ts';
import { StreamFrames, frame } from './stream-frames.ts';
import { Upstreams } from './upstreams.ts';

// Name servers on loopback that behave well, badly, or not at all.
const open: (Socket | Server)[] = [];

afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

async function udpServer(
  answer: (query: Packet, socket: Socket, port: number) => void,
): Promise<UpstreamServer> {
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => answer(decode(message), socket, from.port));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  open.push(socket);
  return { ip: Ip.parse('127.0.0.1'), port: socket.address().port };
}

async function closedPort(): Promise<UpstreamServer> {
  const server = await udpServer(() => undefined);
  const socket = open.pop();
  if (socket !== undefined) await new Promise<void>((resolve) => socket.close(() => resolve()));
  return server;
}

function reply(query: Packet, data: string): Buffer {
  const name = query.questions?.[0]?.name ?? '';
  return encode({ ...query, type: 'response', answers: [{ type: 'A', name, ttl: 1, data }] });
}

const question = encode({ id: 77, type: 'query', questions: [{ type: 'A', name: 'Example.org' }] });

function addressIn(packet: Buffer): unknown {
  const record = decode(packet).answers?.[0];
  return record !== undefined && 'data' in record ? record.data : undefined;
}

test('a server that is not there costs no time; the one that answered is asked first from then on', async () => {
  const asked: number[] = [];
  const good = await udpServer((query, socket, port) => {
    asked.push(query.id ?? 0);
    socket.send(reply(query, '192.0.2.1'), port);
  });
  const upstreams = new Upstreams([await closedPort(), good], { timeoutMs: 2000 });
  const started = performance.now();
  const answer = await upstreams.ask(question, 'udp');
  expect(performance.now() - started).toBeLessThan(1000);
  expect(addressIn(answer)).toBe('192.0.2.1');
  expect(answer.readUInt16BE(0)).toBe(77);
  await upstreams.ask(question, 'udp');
  // The id on the wire is not the client's, and never the same.
  expect(new Set(asked).size).toBe(2);
});

test('answers to other ids and other questions are not believed', async () => {
  const liar = await udpServer((query, socket, port) => {
    socket.send(reply({ ...query, id: ((query.id ?? 0) + 1) & 0xffff }, '203.0.113.1'), port);
    socket.send(reply({ ...query, questions: [{ type: 'A', name: 'other.org' }] }, '203.0.113.2'), port);
    socket.send(Buffer.from('ff'), port);
    socket.send(reply(query, '192.0.2.2'), port);
  });
  expect(addressIn(await new Upstreams([liar]).ask(question, 'udp'))).toBe('192.0.2.2');
});

test('the same question at the same time is asked once', async () => {
  let asked = 0;
  const slow = await udpServer((query, socket, port) => {
    asked += 1;
    setTimeout(() => socket.send(reply(query, '192.0.2.3'), port), 30);
  });
  const upstreams = new Upstreams([slow]);
  const answers = await Promise.all(Array.from({ length: 20 }, async () => upstreams.ask(question, 'udp')));
  expect(answers.map(addressIn)).toEqual(Array.from({ length: 20 }, () => '192.0.2.3'));
  expect(asked).toBe(1);
});

test('over TCP', async () => {
  const server = createServer((socket) => {
    const frames = new StreamFrames();
    socket.on('data', (chunk) => {
      for (const query of frames.push(chunk)) socket.write(frame(reply(decode(query), '192.0.2.4')));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push(server);
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const upstreams = new Upstreams([{ ip: Ip.parse('127.0.0.1'), port }]);
  expect(addressIn(await upstreams.ask(question, 'tcp'))).toBe('192.0.2.4');
});

test('nobody to ask, nobody who answers, too many at once', async () => {
  const silent = await udpServer(() => undefined);
  await expect(new Upstreams([]).ask(question, 'udp')).rejects.toMatchObject({ code: 'NO_UPSTREAM' });
  const own = new Upstreams([silent], { isOwn: () => true });
  expect(own.available).toBe(false);
  await expect(own.ask(question, 'udp')).rejects.toMatchObject({ code: 'NO_UPSTREAM' });
  const upstreams = new Upstreams([silent], { timeoutMs: 50, maxInFlight: 1 });
  const first = upstreams.ask(question, 'udp');
  const other = encode({ id: 1, type: 'query', questions: [{ type: 'A', name: 'other.org' }] });
  await expect(upstreams.ask(other, 'udp')).rejects.toMatchObject({ code: 'UPSTREAM_BUSY' });
  await expect(first).rejects.toThrow('no upstream name server answered (127.0.0.1: no answer within 50 ms)');
});
