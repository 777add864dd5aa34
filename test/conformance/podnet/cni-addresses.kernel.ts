import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { addressOf, CniNode } from './cni-node.ts';
import { removeBuild, SmallCluster } from './small-cluster.ts';

let cni: CniNode;

vi.setConfig({ testTimeout: 90_000, hookTimeout: 150_000 });

beforeAll(async () => {
  const cluster = await SmallCluster.start({ backend: { Type: 'host-gw' }, nodes: 1, dualStack: true });
  cni = new CniNode(cluster, cluster.node(1));
  cni.node.startAgent();
  await cni.ready();
});

afterAll(async () => {
  await cni.cluster.stop();
  removeBuild();
});

const hostLocal = (more: object) => ({ type: 'host-local', ...more });

describe('host-local', () => {
  test('ranges with start, end and gateway, two of them in a row, in a folder of their own', async () => {
    const ranges = [
      [
        { subnet: '10.91.0.0/24', rangeStart: '10.91.0.10', rangeEnd: '10.91.0.11', gateway: '10.91.0.254' },
        { subnet: '10.92.0.0/24', rangeStart: '10.92.0.5', rangeEnd: '10.92.0.5' },
      ],
      [{ subnet: 'fd00:91::/64' }],
    ];
    const dataDir = join(cni.node.folder, 'elsewhere');
    const list = cni.list({ ipam: hostLocal({ ranges, dataDir }) }, { name: 'mine' });
    const containers = [cni.container(), cni.container(), cni.container(), cni.container()];
    const results = [];
    for (const each of containers.slice(0, 3)) results.push(await cni.add(list, each));
    expect(
      results.map((result) => result.ips.map(({ address, gateway }) => `${address} ${gateway ?? ''}`)),
    ).toEqual([
      ['10.91.0.10/24 10.91.0.254', 'fd00:91::2/64 fd00:91::1'],
      ['10.91.0.11/24 10.91.0.254', 'fd00:91::3/64 fd00:91::1'],
      ['10.92.0.5/24 10.92.0.1', 'fd00:91::4/64 fd00:91::1'],
    ]);
    expect(readdirSync(join(dataDir, 'mine'))).toContain('10.92.0.5');
    const [first, , third, fourth] = containers;
    if (first === undefined || third === undefined || fourth === undefined) throw new Error('too few');
    await cni.ping(first, '10.91.0.254');
    await cni.ping(first, '10.92.0.5');
    await cni.ping(third, 'fd00:91::2');
    await cni.driver.check(list, first);
    await expect(cni.driver.add(list, fourth)).rejects.toMatchObject({ code: 11 });
    for (const each of containers) await cni.driver.del(list, each);
    expect(readdirSync(join(dataDir, 'mine')).filter((name) => name.startsWith('10.'))).toEqual([]);
    // Left on the bridge they would go on attracting traffic.
    const gateways = (): string[] => cni.node.ips.filter((ip) => /^(10\.9[12]|fd00:91:)/.test(ip));
    await vi.waitFor(() => expect(gateways()).toEqual([]), 5000);
  });

  test('addresses stay what they are over a restart of the agent, and their gateways on the bridge', async () => {
    const list = cni.list({ ipam: hostLocal({ subnet: '10.93.0.0/24' }) }, { name: 'kept' });
    const container = cni.container();
    await cni.add(list, container);
    await cni.node.stopAgent('SIGKILL');
    cni.node.startAgent();
    await cni.ready();
    await cni.ping(container, '10.93.0.1');
    await cni.driver.check(list, container);
    await cni.driver.del(list, container);
    expect(cni.reservations('kept')).toEqual([]);
  });

  test('routes and resolv.conf of the configuration', async () => {
    const resolvConf = join(cni.node.folder, 'resolv.conf');
    writeFileSync(resolvConf, 'nameserver 10.96.0.10\nsearch a.test b.test\noptions ndots:5\n# end\n');
    const routes = [
      { dst: '10.0.0.0/8' },
      { dst: '192.0.2.0/24', gw: '10.244.1.77', mtu: 1300, priority: 7 },
    ];
    const container = cni.container();
    const list = cni.list({ ipam: hostLocal({ routes, resolvConf }) });
    const result = await cni.add(list, container);
    expect(result.routes).toEqual([
      { dst: '10.0.0.0/8', gw: '10.244.1.1' },
      { dst: '192.0.2.0/24', gw: '10.244.1.77', mtu: 1300, priority: 7 },
    ]);
    expect(result.dns).toEqual({
      nameservers: ['10.96.0.10'],
      search: ['a.test', 'b.test'],
      options: ['ndots:5'],
    });
    const found = cni.inside(container, (kernel) => kernel.routes({ family: 4, table: 254 }));
    const through = found.filter(({ gateway }) => gateway !== undefined);
    expect(
      through.map(({ destination, metric, mtu }) => `${destination.toString()} ${metric ?? ''} ${mtu ?? ''}`),
    ).toEqual(['10.0.0.0/8  ', '192.0.2.0/24 7 1300']);
    await cni.driver.check(list, container);
    await cni.driver.del(list, container);
  });

  test.each([
    [
      'an end before its start',
      [[{ subnet: '10.94.0.0/24', rangeStart: '10.94.0.9', rangeEnd: '10.94.0.5' }]],
      /rangeStart 10\.94\.0\.9 is behind/,
    ],
    [
      'a start outside',
      [[{ subnet: '10.94.0.0/24', rangeStart: '10.95.0.9' }]],
      /rangeStart 10\.95\.0\.9 is not in subnet/,
    ],
    ['ranges that meet', [[{ subnet: '10.94.0.0/16' }], [{ subnet: '10.94.7.0/24' }]], /overlap/],
    ['two families in one set', [[{ subnet: '10.94.0.0/24' }, { subnet: 'fd00:94::/64' }]], /IPv4 and IPv6/],
    ['no room', [[{ subnet: '10.94.0.0/31' }]], /no room/],
    ['no network', [[{ subnet: '10.94.0.0' }]], /ipam\.ranges/],
  ])('%s is refused in words', async (_, ranges, words) => {
    const failed = cni.driver.add(
      cni.list({ ipam: hostLocal({ ranges }) }, { name: 'wrong' }),
      cni.container(),
    );
    await expect(failed).rejects.toThrow(words);
    await expect(failed).rejects.toMatchObject({ code: 7 });
  });
});

describe('static', () => {
  test('gives what is written, and keeps nothing', async () => {
    const ipam = {
      type: 'static',
      addresses: [{ address: '10.95.0.7/24', gateway: '10.95.0.1' }, { address: 'fd00:95::7/64' }],
      routes: [{ dst: '0.0.0.0/0' }],
    };
    const container = cni.container();
    const list = cni.list({ ipam, dns: { nameservers: ['192.0.2.53'] } });
    const before = cni.reservations();
    const result = await cni.add(list, container);
    expect(result.ips.map(({ address }) => address)).toEqual(['10.95.0.7/24', 'fd00:95::7/64']);
    expect(result.dns).toEqual({ nameservers: ['192.0.2.53'] });
    expect(cni.reservations()).toEqual(before);
    await cni.ping(container, '10.95.0.1');
    await cni.driver.check(list, container);
    await cni.driver.del(list, container);
  });

  test('takes what the runtime asks for instead, and refuses to give nothing', async () => {
    const list = cni.list({ ipam: { type: 'static' } });
    const container = cni.container({ args: 'IP=10.96.7.3/24;GATEWAY=10.96.7.1' });
    expect((await cni.add(list, container)).ips).toMatchObject([
      { address: '10.96.7.3/24', gateway: '10.96.7.1' },
    ]);
    await cni.driver.del(list, container);
    await expect(cni.driver.add(list, cni.container())).rejects.toThrow(/ipam\.addresses: none/);
  });
});

describe('what the kernel refuses', () => {
  const itself = [{ dst: 'fd00:99::/64', gw: 'fd00:95::9' }];
  const twice = [{ address: '10.95.0.9/24' }, { address: '10.95.0.9/24' }];
  test.each([
    ['an address twice', { addresses: twice }, /ipam: the kernel refuses 10\.95\.0\.9\/24: .*EEXIST/],
    [
      'a pod as its own gateway',
      { addresses: [{ address: 'fd00:95::9/64' }], routes: itself },
      /ipam\.routes: the kernel refuses fd00:99::\/64: .*EINVAL/,
    ],
  ])('%s is the configuration, with the field and the words', async (_, ipam, words) => {
    const before = [cni.veths(), cni.records()];
    const failed = cni.driver.add(cni.list({ ipam: { type: 'static', ...ipam } }), cni.container());
    await expect(failed).rejects.toThrow(words);
    await expect(failed).rejects.toMatchObject({ code: 7 });
    expect([cni.veths(), cni.records()]).toEqual(before);
  });

  test('an IPv6 address where the container has IPv6 switched off', async () => {
    const container = cni.container();
    const off = 'echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6';
    await cni.cluster.inside(container.id, 'sh', '-c', off);
    const failed = cni.driver.add(cni.list(), container);
    await expect(failed).rejects.toThrow(/IPv6 is switched off in the container: it cannot have fd00:/);
    await expect(failed).rejects.toMatchObject({ code: 102 });
  });
});

describe('capabilities', () => {
  test('ips and mac are what the pod gets; a taken address says try again', async () => {
    const capabilityArgs = { ips: ['10.244.1.200/24', 'fd00:10:244:1::200'], mac: '02:11:22:33:44:55' };
    const container = cni.container({ capabilityArgs });
    const result = await cni.add(cni.list(), container);
    expect(result.ips.map(({ address }) => address)).toEqual(['10.244.1.200/24', 'fd00:10:244:1::200/64']);
    expect(result.interfaces.at(-1)?.mac).toBe('02:11:22:33:44:55');
    expect(cni.inside(container, (kernel) => kernel.link('eth0')?.mac?.toString())).toBe('02:11:22:33:44:55');
    await cni.ping(container, '10.244.1.1');
    const failed = cni.driver.add(cni.list(), cni.container({ capabilityArgs }));
    await expect(failed).rejects.toThrow(new RegExp(`held by container ${container.id}`));
    await expect(failed).rejects.toMatchObject({ code: 11 });
    await cni.driver.del(cni.list(), container);
  });

  test('the older ways to ask: CNI_ARGS and args.cni', async () => {
    const container = cni.container({ args: 'IgnoreUnknown=1;IP=10.244.1.201;MAC=02:11:22:33:44:66;X=y' });
    const list = cni.list({ args: { cni: { ips: ['fd00:10:244:1::201'] } } });
    const result = await cni.add(list, container);
    expect([addressOf(result), addressOf(result, 1)]).toEqual(['10.244.1.201', 'fd00:10:244:1::201']);
    expect(result.interfaces.at(-1)?.mac).toBe('02:11:22:33:44:66');
    await cni.driver.del(list, container);
  });

  test('an address that no range has is refused, and nothing stays', async () => {
    const before = cni.reservations();
    for (const ip of ['192.0.2.1', '10.244.1.1', '10.244.1.255']) {
      const failed = cni.driver.add(cni.list(), cni.container({ capabilityArgs: { ips: [ip] } }));
      await expect(failed).rejects.toMatchObject({ code: 7 });
    }
    expect(cni.reservations()).toEqual(before);
  });

  test('aliases stand in a file of hosts as long as the pod lives', async () => {
    const container = cni.container({ capabilityArgs: { aliases: ['web', 'www.shop'] } });
    const file = join(cni.node.folder, 'flatnet', 'cbr0.hosts');
    const hosts = (): string => readFileSync(file, 'utf8');
    const result = await cni.add(cni.list(), container);
    expect(hosts()).toContain(`${addressOf(result)} web www.shop\n`);
    expect(hosts()).toContain(`${addressOf(result, 1)} web www.shop\n`);
    await cni.driver.del(cni.list(), container);
    expect(existsSync(file)).toBe(false);
  });
});
