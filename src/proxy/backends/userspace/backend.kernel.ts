import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { run } from '../../../kernel/exec/run.ts';
import { createLogger } from '../../../log/logger.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { UserspaceBackend } from './backend.ts';
import { endpoint, GATEWAY, KernelNetwork, NODE, OUTSIDE, textOf } from './kernel-network.ts';

const SERVICE = { 4: '10.96.0.1', 6: 'fd00:10:96::1' } as const;

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

let network: KernelNetwork;
let backend: UserspaceBackend;

beforeEach(async () => {
  network = await KernelNetwork.make(`fnt-us${process.pid}`);
  backend = await open();
});

afterEach(async () => {
  await backend.close();
  network.end();
});

async function open(): Promise<UserspaceBackend> {
  const logger = createLogger('test', 'silent');
  const opened = await UserspaceBackend.open(SETTINGS, {}, logger, network.netns('node'));
  await opened.prepare();
  return opened;
}

const change = (port: ServicePort) => [{ id: port.id, port }];
const reset = { code: 'ECONNRESET' };
const refused = { code: 'ECONNREFUSED' };
const silent = { name: 'AbortError' };

test.each([4, 6] as const)('IPv%i: pods, the node and others reach a Service', async (family) => {
  const web = servicePort({
    family,
    nodePort: 30_080,
    externalIps: [family === 4 ? '192.0.2.9' : '2001:db8::9'],
    endpoints: [endpoint(family, 10)],
  });
  network.serveName(endpoint(family, 10));
  await backend.rebuild([web]);
  for (const from of ['pod', 'node', 'outside'] as const) {
    for (const [host, port] of [
      [SERVICE[family], 80],
      [NODE[family], 30_080],
      [GATEWAY[family], 30_080],
      [web.externalIps[0] ?? '', 80],
    ] as const) {
      expect(await network.ask(from, host, port)).toBe(
        `${endpoint(family, 10).address} sees ${GATEWAY[family]}`,
      );
    }
  }
});

test.each([4, 6] as const)(
  'IPv%i: without endpoints a Service refuses; gone, it is no longer there',
  async (family) => {
    network.serveName(endpoint(family, 10));
    const web = servicePort({ family, nodePort: 30_080 });
    await backend.rebuild([web]);
    for (const from of ['pod', 'node', 'outside'] as const) {
      await expect(network.ask(from, SERVICE[family], 80)).rejects.toMatchObject(refused);
      await expect(network.ask(from, NODE[family], 30_080)).rejects.toMatchObject(refused);
    }
    await backend.update(change({ ...web, endpoints: [endpoint(family, 10)], hasEndpoints: true }));
    expect(await network.ask('outside', SERVICE[family], 80)).toContain('sees');
    await backend.update(change(web));
    await expect(network.ask('outside', SERVICE[family], 80)).rejects.toMatchObject(refused);
    await backend.update([{ id: web.id, port: undefined }]);
    await expect(network.connect('pod', SERVICE[family], 80, 300)).rejects.toMatchObject(silent);
  },
);

test('policies Local and source ranges: who may not is met with silence, who may is served', async () => {
  const local = endpoint(4, 10);
  network.serveName(local);
  network.serveName(endpoint(4, 11));
  const web = servicePort({
    nodePort: 30_080,
    loadBalancerIps: ['192.0.2.20'],
    externalLocal: true,
    internalLocal: true,
    endpoints: [endpoint(4, 11)],
    localEndpoints: [],
    hasEndpoints: true,
  });
  await backend.rebuild([web]);
  await expect(network.connect('pod', SERVICE[4], 80, 300)).rejects.toMatchObject(silent);
  await expect(network.connect('outside', NODE[4], 30_080, 300)).rejects.toMatchObject(silent);
  expect(await network.ask('pod', NODE[4], 30_080)).toContain('10.244.1.11 sees');
  expect(await network.ask('node', '192.0.2.20', 80)).toContain('10.244.1.11 sees');
  await backend.update(change({ ...web, localEndpoints: [local] }));
  expect(await network.ask('outside', NODE[4], 30_080)).toContain('10.244.1.10 sees');
  expect(await network.ask('pod', SERVICE[4], 80)).toContain('10.244.1.10 sees');
  const guarded = { ...web, localEndpoints: [local], sourceRanges: ['10.250.0.4/32', '10.244.0.0/16'] };
  await backend.update(change(guarded));
  await expect(network.connect('outside', '192.0.2.20', 80, 300)).rejects.toMatchObject(silent);
  expect(await network.ask('pod', '192.0.2.20', 80)).toContain('10.244.1.11 sees');
  expect(await network.ask('outside', NODE[4], 30_080)).toContain('sees');
  await backend.update(change({ ...guarded, sourceRanges: [`${OUTSIDE[4]}/32`] }));
  expect(await network.ask('outside', '192.0.2.20', 80)).toContain('10.244.1.10 sees');
});

test('connections go to the endpoints in turn, and past those that are dead', async () => {
  for (const last of [10, 11]) network.serveName(endpoint(4, last));
  // 12 refuses, 13 does not answer at all.
  await network.ip('pod', 'addr del 10.244.1.13/24 dev eth0');
  const web = servicePort({ endpoints: [10, 11, 12, 13].map((last) => endpoint(4, last)) });
  await backend.rebuild([web]);
  const answers = await Promise.all(
    Array.from({ length: 40 }, async () => network.ask('outside', SERVICE[4], 80, 5000)),
  );
  const count = (last: number): number =>
    answers.filter((answer) => answer.startsWith(`10.244.1.${last} `)).length;
  expect(count(10) + count(11)).toBe(40);
  expect(count(10)).toBeGreaterThanOrEqual(10);
  expect(count(11)).toBeGreaterThanOrEqual(10);
});

test('when every endpoint is dead the connection is reset', async () => {
  await backend.rebuild([servicePort({ endpoints: [endpoint(4, 10), endpoint(4, 11)] })]);
  await expect(network.ask('outside', SERVICE[4], 80)).rejects.toMatchObject(reset);
});

test('endpoints that are addresses of Services are passed over: nothing goes round in circles', async () => {
  network.serveName(endpoint(4, 10));
  network.serveUdp(endpoint(4, 10), (text) => text);
  const round = [
    { address: SERVICE[4], port: 80, local: false },
    { address: NODE[4], port: 30_080, local: true },
  ];
  const web = servicePort({ nodePort: 30_080, endpoints: [...round, endpoint(4, 10)] });
  const dns = { ...web, id: 'test/web:80/UDP/4', protocol: 'UDP' } as const;
  await backend.rebuild([web, dns]);
  for (let i = 0; i < 4; i += 1) {
    expect(await network.ask('outside', SERVICE[4], 80)).toContain('10.244.1.10 sees');
    expect(await network.udpClient('outside', 4).ask('x', SERVICE[4], 80)).toBe(`x from ${SERVICE[4]}`);
  }
  await backend.update(change({ ...web, endpoints: round }));
  await expect(network.ask('outside', SERVICE[4], 80)).rejects.toMatchObject(reset);
});

test('a client stays with its endpoint, and gets another one when that is dead', async () => {
  const lasts = [10, 11, 12];
  for (const last of lasts) network.serveName(endpoint(4, last));
  const web = servicePort({ affinitySeconds: 60, endpoints: lasts.map((last) => endpoint(4, last)) });
  await backend.rebuild([web]);
  const first = await network.ask('outside', SERVICE[4], 80);
  for (let i = 0; i < 6; i += 1) expect(await network.ask('outside', SERVICE[4], 80)).toBe(first);
  const dead = first.split(' ')[0] ?? '';
  await network.ip('pod', `addr del ${dead}/24 dev eth0`);
  const second = await network.ask('outside', SERVICE[4], 80, 5000);
  expect(second).not.toBe(first);
  for (let i = 0; i < 6; i += 1) expect(await network.ask('outside', SERVICE[4], 80)).toBe(second);
});

test('each half of a connection ends by itself', async () => {
  network.serve(endpoint(4, 10).address, 8080, (socket) => {
    void textOf(socket).then((text) => socket.end(`heard ${text}`));
  });
  await backend.rebuild([servicePort({ endpoints: [endpoint(4, 10)] })]);
  const socket = await network.connect('outside', SERVICE[4], 80);
  socket.end('all of it');
  expect(await textOf(socket)).toBe('heard all of it');
});

test('what breaks one side breaks the other', async () => {
  const accepted = new Promise<import('node:net').Socket>((resolve) => {
    network.serve(endpoint(4, 10).address, 8080, resolve);
  });
  await backend.rebuild([servicePort({ endpoints: [endpoint(4, 10)] })]);
  const client = await network.connect('outside', SERVICE[4], 80);
  const server = await accepted;
  server.resetAndDestroy();
  const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNRESET');
});

test('a slow reader slows its writer down: 50 MB arrive, and little of them waits in memory', async () => {
  const size = 50 * 1024 * 1024;
  const block = Buffer.alloc(64 * 1024, 'flatnet');
  let written = 0;
  network.serve(endpoint(4, 10).address, 8080, (socket) => {
    const write = (): void => {
      while (written < size) {
        written += block.length;
        if (!socket.write(block)) return;
      }
      socket.end();
    };
    socket.on('drain', write);
    write();
  });
  await backend.rebuild([servicePort({ endpoints: [endpoint(4, 10)] })]);
  const client = await network.connect('outside', SERVICE[4], 80);
  client.pause();
  // Until nothing moves any more: all buffers on the way are full.
  for (let before = -1; before !== written;) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  expect(written).toBeLessThan(30 * 1024 * 1024);
  expect(process.memoryUsage().arrayBuffers).toBeLessThan(16 * 1024 * 1024);
  let read = 0;
  client.on('data', (data: Buffer) => (read += data.length));
  client.resume();
  await once(client, 'end');
  expect(read).toBe(size);
});

test('1,000 connections at once, all of them carried', async () => {
  network.serve(endpoint(4, 10).address, 8080, (socket) => {
    socket.on('data', (data) => socket.write(data));
    socket.on('end', () => socket.end());
  });
  await backend.rebuild([servicePort({ endpoints: [endpoint(4, 10)] })]);
  const sockets = await Promise.all(
    Array.from({ length: 1000 }, async () => network.connect('outside', SERVICE[4], 80, 10_000)),
  );
  await Promise.all(
    sockets.map(async (socket, index) => {
      socket.end(`number ${index}`);
      expect(await textOf(socket)).toBe(`number ${index}`);
    }),
  );
});

test.each([4, 6] as const)('IPv%i: UDP clients keep their endpoint until they are silent', async (family) => {
  for (const last of [10, 11])
    network.serveUdp(endpoint(family, last), (text, from) => `${last} ${text} ${from}`);
  const dns = servicePort({
    family,
    protocol: 'UDP',
    port: 53,
    endpoints: [endpoint(family, 10), endpoint(family, 11)],
  });
  await backend.rebuild([dns]);
  const client = network.udpClient('outside', family);
  const first = await client.ask('a', SERVICE[family], 53);
  // The answer comes from the address that was asked; the endpoint sees the node.
  expect(first).toContain(`from ${SERVICE[family]}`);
  expect(first).toContain(` a ${GATEWAY[family]} `);
  for (let i = 0; i < 5; i += 1) expect(await client.ask('a', SERVICE[family], 53)).toBe(first);
  await expect
    .poll(() => backend.natFamilies.reduce((sum, { fronts }) => sum + (fronts?.active ?? 0), 0))
    .toBe(0);
  expect(await client.ask('a', SERVICE[family], 53)).not.toBe(first);
});

test('one UDP socket that asks two Services is answered by both', async () => {
  const names = { '10.96.0.1': 10, '10.96.0.2': 11 } as const;
  for (const last of [10, 11]) network.serveUdp(endpoint(4, last), (text) => `${last} ${text}`);
  const ports = Object.entries(names).map(([address, last]) =>
    servicePort({
      service: `test/dns-${last}`,
      address,
      protocol: 'UDP',
      port: 53,
      endpoints: [endpoint(4, last)],
    }),
  );
  await backend.rebuild(ports);
  for (const from of ['outside', 'pod', 'node'] as const) {
    const client = network.udpClient(from, 4);
    for (let i = 0; i < 3; i += 1) {
      expect(await client.ask('x', '10.96.0.1', 53)).toBe('10 x from 10.96.0.1');
      expect(await client.ask('x', '10.96.0.2', 53)).toBe('11 x from 10.96.0.2');
    }
  }
});

test('a UDP endpoint that refuses is passed over without the client noticing', async () => {
  network.serveUdp(endpoint(4, 11), (text) => `11 ${text}`);
  const endpoints = [endpoint(4, 10), endpoint(4, 11)];
  await backend.rebuild([servicePort({ protocol: 'UDP', port: 53, endpoints })]);
  for (let i = 0; i < 4; i += 1) {
    expect(await network.udpClient('outside', 4).ask(`${i}`, SERVICE[4], 53)).toBe(
      `11 ${i} from ${SERVICE[4]}`,
    );
  }
});

test('a UDP flow leaves an endpoint that is gone, and a Service that has none refuses it', async () => {
  for (const last of [10, 11]) network.serveUdp(endpoint(4, last), () => `${last}`);
  const dns = servicePort({ protocol: 'UDP', port: 53, endpoints: [endpoint(4, 10)] });
  await backend.rebuild([dns]);
  const client = network.udpClient('outside', 4);
  expect(await client.ask('a', SERVICE[4], 53)).toBe(`10 from ${SERVICE[4]}`);
  await backend.update(change({ ...dns, endpoints: [endpoint(4, 11)] }));
  expect(await client.ask('b', SERVICE[4], 53)).toBe(`11 from ${SERVICE[4]}`);
  await backend.update(change({ ...dns, endpoints: [], hasEndpoints: false }));
  expect(await client.ask('c', SERVICE[4], 53, 300)).toBe(undefined);
  await backend.update(change(dns));
  expect(await client.ask('d', SERVICE[4], 53)).toBe(`10 from ${SERVICE[4]}`);
});

test('a UDP flow from before its Service was there finds it', async () => {
  network.serveUdp(endpoint(4, 10), () => '10');
  await backend.rebuild([]);
  const client = network.udpClient('pod', 4);
  expect(await client.ask('a', SERVICE[4], 53, 200)).toBe(undefined);
  await backend.update(change(servicePort({ protocol: 'UDP', port: 53, endpoints: [endpoint(4, 10)] })));
  expect(await client.ask('b', SERVICE[4], 53)).toBe(`10 from ${SERVICE[4]}`);
});

test('after a restart the same ports serve, and UDP flows go on', async () => {
  network.serveUdp(endpoint(4, 10), (text) => text);
  network.serveName(endpoint(4, 10));
  const ports = [
    servicePort({ endpoints: [endpoint(4, 10)] }),
    servicePort({ protocol: 'UDP', port: 53, endpoints: [endpoint(4, 10)] }),
  ];
  await backend.rebuild(ports);
  const client = network.udpClient('outside', 4);
  expect(await client.ask('a', SERVICE[4], 53)).toBe(`a from ${SERVICE[4]}`);
  const before = backend.natFamilies.map(({ fronts }) => fronts?.ports);
  await backend.close();
  await expect(network.ask('outside', SERVICE[4], 80)).rejects.toMatchObject(refused);
  backend = await open();
  expect(backend.natFamilies.map(({ fronts }) => fronts?.ports)).toEqual(before);
  const report = await backend.rebuild(ports);
  expect(report.describe()).toEqual([]);
  expect(await network.ask('outside', SERVICE[4], 80)).toContain('sees');
  expect(await client.ask('b', SERVICE[4], 53)).toBe(`b from ${SERVICE[4]}`);
});

test('another one takes over while this one serves: nobody is refused, connections live on', async () => {
  network.serveName(endpoint(4, 10));
  network.serveUdp(endpoint(4, 10), (text) => text);
  network.serve(endpoint(4, 11).address, 9090, (socket) => {
    socket.on('data', (data) => socket.write(data));
    socket.on('end', () => socket.end());
  });
  // Only what is let in gets in, as many nodes have it.
  const firewall = ['-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT', '-P INPUT DROP'];
  for (const rule of firewall) await iptables(rule);
  const ports = [
    servicePort({ endpoints: [endpoint(4, 10)] }),
    servicePort({ service: 'test/held', port: 90, endpoints: [endpoint(4, 11, 9090)] }),
    servicePort({ protocol: 'UDP', port: 53, endpoints: [endpoint(4, 10)] }),
  ];
  await backend.rebuild(ports);
  const held = await network.connect('outside', SERVICE[4], 90);
  const udp = network.udpClient('outside', 4);
  expect(await udp.ask('a', SERVICE[4], 53)).toBe(`a from ${SERVICE[4]}`);
  const over = new AbortController();
  const calling = callUntil(over.signal);
  const former = backend;
  backend = await open();
  await backend.rebuild(ports);
  void former.drained();
  // One answer may be on its way while the flow changes hands.
  await expect.poll(async () => udp.ask('b', SERVICE[4], 53, 200)).toContain(SERVICE[4]);
  held.end('still here');
  expect(await textOf(held)).toBe('still here');
  over.abort();
  expect(await calling).toEqual([]);
  expect(await synsSentAgain()).toBe(0);
  await former.close();
  expect(await network.ask('outside', SERVICE[4], 80)).toContain('sees');
  expect(await udp.ask('c', SERVICE[4], 53)).toContain(SERVICE[4]);
  expect((await backend.rebuild(ports)).describe()).toEqual([]);
});

async function iptables(words: string): Promise<string> {
  return (await run('iptables-nft', words.split(' '), { netns: network.netns('node') })).stdout;
}

/** New connections one after the other; what became of those that failed. */
async function callUntil(signal: AbortSignal): Promise<unknown[]> {
  const failed: unknown[] = [];
  while (!signal.aborted) {
    await network.ask('outside', SERVICE[4], 80, 10_000).catch((error: unknown) => failed.push(error));
  }
  return failed;
}

/** By clients outside: what the node did not take the first time. */
async function synsSentAgain(): Promise<number> {
  const { stdout } = await run('cat', ['/proc/net/netstat'], { netns: network.netns('outside') });
  const [names = [], values = []] = stdout
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('TCPSynRetrans')]);
}

test('removed, no rule is left, and established connections go on until they end', async () => {
  network.serve(endpoint(4, 10).address, 8080, (socket) => {
    socket.on('data', (data) => socket.write(data));
    socket.on('end', () => socket.end());
  });
  // As every node has such a rule, or those of another mode: without any, the kernel ends connection tracking itself.
  const masquerade = ['-t', 'nat', '-A', 'POSTROUTING', '-s', '10.244.0.0/16', '-j', 'MASQUERADE'];
  await run('iptables-nft', masquerade, { netns: network.netns('node') });
  await backend.rebuild([servicePort({ endpoints: [endpoint(4, 10)] })]);
  const client = await network.connect('outside', SERVICE[4], 80);
  client.write('a');
  await once(client, 'data');
  await backend.remove();
  let drained = false;
  const draining = backend.drained().then(() => (drained = true));
  for (const { iptables } of backend.natFamilies) {
    for (const table of ['nat', 'filter'] as const) expect(await iptables.save(table)).not.toContain('KUBE-');
  }
  await expect(network.connect('outside', SERVICE[4], 80, 300)).rejects.toMatchObject(silent);
  client.write('b');
  expect(String((await once(client, 'data'))[0])).toBe('b');
  expect(drained).toBe(false);
  client.end();
  await draining;
});

test('nobody but the clients of Services gets at the ports of the proxy', async () => {
  network.serveName(endpoint(4, 10));
  await backend.rebuild([servicePort({ endpoints: [endpoint(4, 10)] })]);
  const port = backend.natFamilies[0]?.fronts?.ports.TCP.all ?? 0;
  for (const from of ['outside', 'pod', 'node'] as const) {
    await expect(network.ask(from, NODE[4], port)).rejects.toMatchObject(refused);
  }
});
