import { createSocket, type Socket as DatagramSocket } from 'node:dgram';
import { EventEmitter, once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { Ip } from '../../net/ip.ts';
import { run } from '../exec/run.ts';
import { LinuxRouteKernel } from '../netlink/apply.ts';
import { readSysctl, writeSysctl } from '../sysctl/sysctl.ts';
import { bindUdp, listenTcp, listenUnix, localPort, tcpSocket } from './listen.ts';
import { createNetns, deleteNetns, listNetns, Netns, withNetns } from './netns.ts';

const LOOPBACK = Ip.parse('127.0.0.1');
const NAME = `fnt-netns-${process.pid}`;
const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function fail(): never {
  throw new Error('inside');
}

function newNetns(): Netns {
  const netns = Netns.createAnonymous();
  const kernel = LinuxRouteKernel.open(netns.fd);
  kernel.changeLink(1, { up: true });
  kernel.close();
  cleanups.push(() => netns.close());
  return netns;
}

async function echoServer(fd: number): Promise<Server> {
  const server = createServer((socket) => socket.pipe(socket));
  cleanups.push(() => server.close());
  server.listen({ fd });
  await once(server, 'listening');
  return server;
}

async function echo(socket: Socket): Promise<string> {
  socket.end('hello');
  const chunks: string[] = [];
  for await (const chunk of socket.setEncoding('utf8')) chunks.push(chunk as string);
  return chunks.join('');
}

describe('named namespaces', () => {
  test('are those of `ip netns`', async () => {
    cleanups.push(() => void deleteNetns(NAME));
    const before = Netns.current();
    createNetns(NAME);
    const after = Netns.current();
    expect(after.inode).toBe(before.inode);
    before.close();
    after.close();
    expect(listNetns()).toContain(NAME);
    const { stdout } = await run('ip', ['netns', 'exec', NAME, 'readlink', '/proc/self/ns/net']);
    const opened = Netns.named(NAME);
    expect(stdout.trim()).toBe(`net:[${opened.inode}]`);
    opened.close();
    expect(() => createNetns(NAME)).toThrow(expect.objectContaining({ code: 'EEXIST' }));
    expect(deleteNetns(NAME)).toBe(true);
    expect(deleteNetns(NAME)).toBe(false);
    expect(() => Netns.named(NAME)).toThrow(expect.objectContaining({ code: 'NETNS_NOT_FOUND' }));
  });

  test('one that `ip netns` made is deleted as well', async () => {
    await run('ip', ['netns', 'add', NAME]);
    expect(deleteNetns(NAME)).toBe(true);
    expect(listNetns()).not.toContain(NAME);
  });
});

describe('withNetns', () => {
  test('runs inside and comes back, also after an error', () => {
    const netns = newNetns();
    const home = Netns.current();
    const inside = withNetns(netns.fd, () => {
      const here = Netns.current();
      here.close();
      return here.inode;
    });
    expect(inside).toBe(netns.inode);
    expect(() => withNetns(netns.fd, fail)).toThrow('inside');
    const after = Netns.current();
    expect(after.inode).toBe(home.inode);
    after.close();
    home.close();
  });

  test('refuses what is asynchronous', () => {
    const netns = newNetns();
    const refused = expect.objectContaining({ code: 'NETNS_ASYNC' });
    // eslint-disable-next-line typescript/no-misused-promises
    expect(() => withNetns(netns.fd, async () => await Promise.resolve(1))).toThrow(refused);
    expect(() => withNetns(netns.fd, () => Promise.resolve(1))).toThrow(refused);
  });
});

describe('sockets of another namespace', () => {
  test('TCP: listening there, reached from there, not from here', async () => {
    const netns = newNetns();
    const fd = listenTcp(LOOPBACK, 0, { netns: netns.fd });
    const port = localPort(fd);
    await echoServer(fd);
    const client = new Socket({ fd: tcpSocket(4, netns.fd) });
    client.connect({ host: '127.0.0.1', port });
    expect(await echo(client)).toBe('hello');
    const outside = connect({ host: '127.0.0.1', port });
    const [error] = (await once(outside, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('ECONNREFUSED');
  });

  test('a port that is taken is named', () => {
    const netns = newNetns();
    const port = localPort(listenTcp(LOOPBACK, 0, { netns: netns.fd }));
    expect(() => listenTcp(LOOPBACK, port, { netns: netns.fd })).toThrow(`listen on TCP 127.0.0.1:${port}`);
  });

  test('UDP', async () => {
    const netns = newNetns();
    const sockets: DatagramSocket[] = [];
    for (const port of [5353, 0]) {
      const socket = createSocket('udp4');
      cleanups.push(() => socket.close());
      socket.bind({ fd: bindUdp(LOOPBACK, port, { netns: netns.fd }) });
      sockets.push(socket);
    }
    const [server, client] = sockets;
    server?.on('message', (message, from) => server.send(message, from.port, from.address));
    client?.send('ping', 5353, '127.0.0.1');
    const [answer] = (await once(client ?? new EventEmitter(), 'message')) as [Buffer];
    expect(answer.toString()).toBe('ping');
  });

  test('unix: a socket file that a dead process left is replaced', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'fnt-unix-'));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'x.sock');
    await echoServer(listenUnix(path));
    await echoServer(listenUnix(path));
    expect(await echo(connect(path))).toBe('hello');
  });
});

describe('sysctl', () => {
  test('is read and written in the other namespace only', () => {
    const netns = newNetns();
    const key = 'net.ipv4.conf.all.arp_ignore';
    const here = readSysctl(key);
    writeSysctl(key, 2, netns.fd);
    expect(readSysctl(key, netns.fd)).toBe('2');
    expect(readSysctl(key)).toBe(here);
  });

  test('what does not exist is named', () => {
    expect(() => readSysctl('net.ipv4.conf.no-such-device.forwarding')).toThrow(
      expect.objectContaining({ code: 'ENOENT' }),
    );
  });
});
