import { once } from 'node:events';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { run } from '../../../kernel/exec/run.ts';
import { createLogger } from '../../../log/logger.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServicePort } from '../../services/service-port.ts';
import { UserspaceBackend } from './backend.ts';
import { endpoint, GATEWAY, KernelNetwork, NODE } from './kernel-network.ts';

const SERVICE = { 4: '10.96.0.1', 6: 'fd00:10:96::1' } as const;

let network: KernelNetwork;
let backend: UserspaceBackend;

beforeEach(async () => {
  network = await KernelNetwork.make(`fnt-ud${process.pid}`);
  const settings = {
    families: [4, 6],
    nodeIps: [Ip.parse(NODE[4]), Ip.parse(NODE[6])],
    nodePortAddresses: 'all',
    localhostNodePorts: true,
    localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16'), Cidr.parse('fd00:10:244::/48')] },
    serviceCidrs: [],
    masqueradeAll: false,
    masqueradeBit: 14,
  } as const;
  const logger = createLogger('test', 'silent');
  backend = await UserspaceBackend.open(settings, { redirect: 'direct' }, logger, network.netns('node'));
  await backend.prepare();
});

afterEach(async () => {
  await backend.close();
  network.end();
});

const change = (port: ServicePort) => [{ id: port.id, port }];
const refused = { code: 'ECONNREFUSED' };
const reset = { code: 'ECONNRESET' };

async function nodeText(command: string, ...args: string[]): Promise<string> {
  return (await run(command, args, { netns: network.netns('node') })).stdout;
}

test.each([4, 6] as const)('IPv%i: Services are served without a single rule', async (family) => {
  const external = family === 4 ? '192.0.2.9' : '2001:db8::9';
  const web = servicePort({
    family,
    nodePort: 30_080,
    externalIps: [external],
    endpoints: [endpoint(family, 10)],
  });
  const dns = servicePort({
    family,
    service: 'test/dns',
    protocol: 'UDP',
    port: 53,
    nodePort: 30_053,
    endpoints: [endpoint(family, 10)],
  });
  network.serveName(endpoint(family, 10));
  network.serveUdp(endpoint(family, 10), (text, from) => `${text} ${from.split(' ')[0]}`);
  const report = await backend.rebuild([web, dns]);
  expect(report.failures).toEqual([]);
  for (const from of ['pod', 'node', 'outside'] as const) {
    for (const [host, port] of [
      [SERVICE[family], 80],
      [external, 80],
      [NODE[family], 30_080],
    ] as const) {
      expect(await network.ask(from, host, port)).toBe(
        `${endpoint(family, 10).address} sees ${GATEWAY[family]}`,
      );
    }
    for (const [host, port] of [
      [SERVICE[family], 53],
      [NODE[family], 30_053],
    ] as const) {
      const answer = await network.udpClient(from, family).ask('x', host, port);
      expect(answer).toBe(`x ${GATEWAY[family]} from ${host}`);
    }
  }
  await backend.update(change({ ...web, endpoints: [], hasEndpoints: false }));
  await expect(network.ask('outside', SERVICE[family], 80)).rejects.toMatchObject(refused);
  await expect(network.ask('outside', NODE[family], 30_080)).rejects.toMatchObject(refused);
  expect(await nodeText('nft', 'list', 'ruleset')).toBe('');
});

test('who may not is reset', async () => {
  for (const last of [10, 11]) network.serveName(endpoint(4, last));
  const web = servicePort({
    nodePort: 30_080,
    loadBalancerIps: ['192.0.2.20'],
    sourceRanges: ['10.244.0.0/16'],
    externalLocal: true,
    endpoints: [endpoint(4, 11)],
    localEndpoints: [endpoint(4, 10)],
    hasEndpoints: true,
  });
  await backend.rebuild([web]);
  await expect(network.ask('outside', '192.0.2.20', 80)).rejects.toMatchObject(reset);
  expect(await network.ask('pod', '192.0.2.20', 80)).toContain('10.244.1.11 sees');
  expect(await network.ask('outside', NODE[4], 30_080)).toContain('10.244.1.10 sees');
  expect(await network.ask('pod', NODE[4], 30_080)).toContain('10.244.1.11 sees');
  expect(await network.ask('node', NODE[4], 30_080)).toContain('10.244.1.11 sees');
});

const routes = async (): Promise<string> =>
  await nodeText('ip', 'route', 'show', 'table', 'local', 'proto', '71');

test('addresses come and go with their Services, but not while a connection needs them', async () => {
  network.serve(endpoint(4, 10).address, 8080, (socket) => {
    socket.on('data', (data) => socket.write(data));
    socket.on('end', () => socket.end());
  });
  const web = servicePort({ endpoints: [endpoint(4, 10)] });
  const other = servicePort({ service: 'test/other', port: 81, endpoints: [endpoint(4, 10)] });
  await backend.rebuild([web, other]);
  expect(await routes()).toBe('local 10.96.0.1 dev lo scope host src 10.250.0.1 \n');
  await backend.update([{ id: other.id, port: undefined }]);
  expect(await routes()).toContain('10.96.0.1');
  const client = await network.connect('outside', SERVICE[4], 80);
  client.write('a');
  await once(client, 'data');
  await backend.update([{ id: web.id, port: undefined }]);
  await expect(network.connect('outside', SERVICE[4], 80)).rejects.toMatchObject(refused);
  client.write('b');
  expect(String((await once(client, 'data'))[0])).toBe('b');
  client.end();
  await expect.poll(routes).toBe('');
});

test('a port that another program has is told of, and the rest is served', async () => {
  const end = network.serve(NODE[4], 30_080, (socket) => socket.end('other'), 'node');
  network.serveName(endpoint(4, 10));
  const web = servicePort({ nodePort: 30_080, endpoints: [endpoint(4, 10)] });
  const { failures } = await backend.rebuild([web]);
  expect(failures?.map(({ subject }) => subject)).toEqual(['node port TCP 30080']);
  expect(failures?.[0]?.message).toContain('EADDRINUSE');
  expect(await network.ask('outside', SERVICE[4], 80)).toContain('sees');
  end();
  expect((await backend.rebuild([web])).failures).toEqual([]);
  expect(await network.ask('outside', NODE[4], 30_080)).toContain('sees');
});
