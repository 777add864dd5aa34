import dgram from 'node:dgram';
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { run } from '../../../kernel/exec/run.ts';
import { bindUdp, listenTcp, tcpSocket } from '../../../kernel/netns/listen.ts';
import { createNetns, deleteNetns, Netns } from '../../../kernel/netns/netns.ts';
import { createLogger } from '../../../log/logger.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { UserspaceBackend } from './backend.ts';

/** A node with a wire to a pod, which has several addresses, and one to a machine outside. */
const NODE = { 4: '10.250.0.1', 6: 'fd00:250::1' } as const;
const SERVICE = { 4: '10.96.0.1', 6: 'fd00:10:96::1' } as const;
const POD = { 4: '10.244.1.', 6: 'fd00:10:244:1::' } as const;
const PREFIX = `fnt-us${process.pid}`;

let spaces: Record<'node' | 'pod' | 'outside', Netns>;
let backend: UserspaceBackend;
let ends: (() => void)[] = [];

const SETTINGS: ProxySettings = {
  families: [4, 6],
  nodeIps: [Ip.parse(NODE[4]), Ip.parse(NODE[6])],
  nodePortAddresses: 'all',
  localhostNodePorts: true,
  localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16'), Cidr.parse('fd00:10:244::/48')] },
  serviceCidrs: [],
  masqueradeAll: false,
  masqueradeBit: 14,
};

beforeEach(async () => {
  const names = (['node', 'pod', 'outside'] as const).map((name) => [name, `${PREFIX}-${name}`] as const);
  for (const [, name] of names) {
    deleteNetns(name);
    createNetns(name);
  }
  spaces = Object.fromEntries(names.map(([key, name]) => [key, Netns.named(name)])) as typeof spaces;
  const commands = [
    ['pod', 'link set lo up'],
    ['node', 'link set lo up'],
    ['outside', 'link set lo up'],
    ['node', `link add pod0 type veth peer name eth0 netns ${PREFIX}-pod`],
    ['node', `link add eth0 type veth peer name eth0 netns ${PREFIX}-outside`],
    ['node', 'addr add 10.244.1.1/24 dev pod0'],
    ['node', 'addr add fd00:10:244:1::1/64 dev pod0 nodad'],
    ['node', 'addr add 10.250.0.1/24 dev eth0'],
    ['node', 'addr add fd00:250::1/64 dev eth0 nodad'],
    ...[10, 11, 12].flatMap((last) => [
      ['pod', `addr add 10.244.1.${last}/24 dev eth0`],
      ['pod', `addr add fd00:10:244:1::${last}/64 dev eth0 nodad`],
    ]),
    ['outside', 'addr add 10.250.0.3/24 dev eth0'],
    ['outside', 'addr add fd00:250::3/64 dev eth0 nodad'],
    ['node', 'link set pod0 up'],
    ['node', 'link set eth0 up'],
    ['pod', 'link set eth0 up'],
    ['outside', 'link set eth0 up'],
    ['pod', 'route add default via 10.244.1.1'],
    ['pod', '-6 route add default via fd00:10:244:1::1'],
    ['outside', 'route add default via 10.250.0.1'],
    ['outside', '-6 route add default via fd00:250::1'],
    ['node', 'route add default via 10.250.0.3'],
    ['node', '-6 route add default via fd00:250::3'],
  ] as const;
  for (const [space, command] of commands) {
    await run('ip', command.split(' '), { netns: spaces[space as keyof typeof spaces].fd });
  }
  await run('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1'], {
    netns: spaces.node.fd,
  });
  backend = await open();
});

afterEach(async () => {
  await backend.close();
  for (const end of ends) end();
  ends = [];
  for (const [key, space] of Object.entries(spaces)) {
    space.close();
    deleteNetns(`${PREFIX}-${key}`);
  }
});

async function open(): Promise<UserspaceBackend> {
  const logger = createLogger('test', 'silent');
  const opened = await UserspaceBackend.open(SETTINGS, {}, logger, spaces.node.fd);
  await opened.prepare();
  return opened;
}

const endpoint = (family: 4 | 6, last: number, port = 8080): ServiceEndpoint => ({
  address: `${POD[family]}${last}`,
  port,
  local: true,
});

function serve(host: string, port: number, handle: (socket: net.Socket) => void): void {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    ends.push(() => socket.destroy());
    handle(socket);
  });
  server.listen({ fd: listenTcp(Ip.parse(host), port, { netns: spaces.pod.fd, backlog: 1024 }) });
  ends.push(() => server.close());
}

/** Answers with its address and ends. */
function serveName(host: string, port = 8080): void {
  serve(host, port, (socket) => {
    socket.resume();
    socket.end(`${host} sees ${socket.remoteAddress}`);
  });
}

async function connect(from: keyof typeof spaces, host: string, port: number): Promise<net.Socket> {
  const family = net.isIPv6(host) ? 6 : 4;
  const socket = new net.Socket({ fd: tcpSocket(family, spaces[from].fd), allowHalfOpen: true });
  ends.push(() => socket.destroy());
  socket.connect(port, host);
  const signal = AbortSignal.timeout(2000);
  await once(socket, 'connect', { signal });
  return socket;
}

async function ask(from: keyof typeof spaces, host: string, port: number): Promise<string> {
  const socket = await connect(from, host, port);
  return await textOf(socket);
}

async function textOf(socket: net.Socket): Promise<string> {
  let text = '';
  socket.on('data', (data: Buffer) => (text += data.toString()));
  await once(socket, 'end');
  socket.end();
  return text;
}

test.each([4, 6] as const)('IPv%i: pods, the node and others reach a Service', async (family) => {
  serveName(endpoint(family, 10).address);
  const web = servicePort({
    family,
    nodePort: 30080,
    externalIps: [family === 4 ? '192.0.2.9' : '2001:db8::9'],
    endpoints: [endpoint(family, 10)],
  });
  await backend.rebuild([web]);
  const node = family === 4 ? '10.244.1.1' : 'fd00:10:244:1::1';
  for (const from of ['pod', 'node', 'outside'] as const) {
    expect(await ask(from, SERVICE[family], 80)).toBe(`${endpoint(family, 10).address} sees ${node}`);
    expect(await ask(from, NODE[family], 30080)).toContain('sees');
    expect(await ask(from, web.externalIps[0] ?? '', 80)).toContain('sees');
  }
  if (family === 4) expect(await ask('node', '127.0.0.1', 30080)).toContain('sees');
});
