import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { run } from '../../../kernel/exec/run.ts';
import { Netns } from '../../../kernel/netns/netns.ts';
import { addressField, indexField } from '../../../kernel/nft/field.ts';
import { NftSocket } from '../../../kernel/nft/nft-socket.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ProxySettings } from '../../settings.ts';
import { NftablesBackend } from './backend.ts';
import { missingFeatures } from './probe.ts';
import { proxySets } from './sets.ts';
import { NftablesTracer } from './tracer.ts';

const NODE_IPS = [Ip.parse('10.250.0.1'), Ip.parse('fd00:250::1')];
const SETTINGS: ProxySettings = {
  families: [4, 6],
  nodeIps: NODE_IPS,
  nodePortAddresses: NODE_IPS,
  localhostNodePorts: false,
  localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16'), Cidr.parse('fd00:10:244::/56')] },
  serviceCidrs: [Cidr.parse('10.96.0.0/16')],
  masqueradeAll: false,
  masqueradeBit: 14,
};
const SETS = proxySets(4);
const ENDPOINTS = [1, 2].map((last) => ({ address: `10.244.1.${last}`, port: 8080, local: last === 1 }));
const ENDPOINTS6 = ENDPOINTS.map(({ port, local }, n) => ({ address: `fd00:10:244:1::${n}`, port, local }));

/** One of everything. */
const PORTS = [
  servicePort({ service: 'shop/web', address: '10.96.0.80', nodePort: 30080, endpoints: ENDPOINTS }),
  servicePort({
    service: 'shop/public',
    address: '10.96.0.81',
    externalIps: ['192.0.2.1'],
    loadBalancerIps: ['192.0.2.2'],
    sourceRanges: ['198.51.100.0/24'],
    externalLocal: true,
    endpoints: ENDPOINTS,
  }),
  servicePort({ service: 'shop/basket', address: '10.96.0.82', affinitySeconds: 60, endpoints: ENDPOINTS }),
  servicePort({ service: 'shop/empty', address: '10.96.0.83' }),
  servicePort({ service: 'shop/web', family: 6, address: 'fd00:10:96::80', endpoints: ENDPOINTS6 }),
];

let netns: Netns;
let nft: NftSocket;
let backend: NftablesBackend;
let others: NftSocket;

beforeEach(async () => {
  netns = Netns.createAnonymous();
  nft = NftSocket.open({ netns: netns.fd });
  others = NftSocket.open({ netns: netns.fd });
  backend = new NftablesBackend(nft, SETTINGS);
  await backend.prepare();
  await backend.rebuild(PORTS);
});

afterEach(async () => {
  await backend.close();
  others.close();
  netns.close();
});

const list = async (...what: string[]): Promise<string> =>
  (await run('nft', [...what], { netns: netns.fd })).stdout;

/** All that there is of the tables, as nft tells it; without what comes in any order. */
async function everything(): Promise<string[]> {
  const lines = await list('-nn', 'list', 'ruleset');
  return lines
    .split(/[\n,]/)
    .map((line) =>
      line
        .replace(/^\s*elements = \{/, '')
        .replace('}', '')
        .trim(),
    )
    .sort();
}

test('the rules of a node are what nft lists', async () => {
  await expect(await list('-t', 'list', 'table', 'ip', SETS.table.name)).toMatchFileSnapshot(
    'fixtures/table-ip.nft',
  );
});

test('nft lists what Services need, in both families', async () => {
  const stdout = await list('list', 'ruleset');
  expect(stdout).toContain('10.96.0.80 . tcp . 80 : 0x00000008');
  expect(stdout).toContain('0x00000008 . 0x00000001 : 10.244.1.2 . 8080');
  expect(stdout).toContain('fd00:10:96::80 . tcp . 80 : 0x00000008');
});

test('node ports on all addresses: rules that the kernel takes and nft lists', async () => {
  const everywhere = new NftablesBackend(nft, { ...SETTINGS, nodePortAddresses: 'all' });
  await everywhere.prepare();
  await everywhere.rebuild(PORTS);
  const stdout = await list('list', 'table', 'ip', SETS.table.name);
  expect(stdout).toContain('fib daddr type local ip daddr != 127.0.0.0/8 jump nodeports');
  expect(stdout).toContain('tcp . 30080 : 0x0000000a');
});

test('a new process finds nothing to do', async () => {
  const next = new NftablesBackend(nft, SETTINGS);
  await next.prepare();
  expect((await next.rebuild(PORTS)).describe()).toEqual([]);
});

test('the kernel has all that the mode needs', () => {
  expect([...missingFeatures(nft, 'ip'), ...missingFeatures(nft, 'ip6')]).toEqual([]);
  expect(nft.hasTable({ family: 'ip', name: 'flatnet-probe' })).toBe(false);
});

describe('what other programs do', () => {
  const table = `ip ${SETS.table.name}`;

  test.each([
    'flush ruleset',
    `delete table ${table}`,
    `flush table ${table}`,
    `flush chain ${table} lb`,
    `flush chain ${table} lb-60s`,
    `add rule ${table} services drop`,
    `insert rule ${table} filter-forward counter drop`,
    `flush map ${table} endpoints`,
    `delete element ${table} cluster-ips { 10.96.0.80 }`,
    `add element ${table} no-endpoint-services { 10.96.0.80 . tcp . 80 : 1 }`,
    `add element ${table} cluster-ips { 10.96.99.99 }`,
    `delete element ${table} kinds { 0 }`,
    `delete table ip6 ${SETS.table.name}`,
  ])('`%s` is told at once and repaired', async (harm) => {
    const before = await everything();
    const told = vi.fn<() => void>();
    const end = backend.watch(told);
    await others.load(`${harm}\n`);
    await vi.waitFor(() => expect(told).toHaveBeenCalled(), { timeout: 2000 });
    expect(await backend.foreignChange()).toBe(true);
    await backend.prepare();
    const { describe: lines } = await backend.rebuild(PORTS);
    expect(lines()).not.toEqual([]);
    expect(await everything()).toEqual(before);
    expect(await backend.foreignChange()).toBe(false);
    end();
  });

  test('to other tables, and what the proxy itself does, is told to nobody', async () => {
    const told = vi.fn<() => void>();
    const end = backend.watch(told);
    await others.load('add table ip other; add chain ip other x; delete table ip other\n');
    await run('iptables-nft', ['-A', 'INPUT', '-j', 'ACCEPT'], { netns: netns.fd });
    const [first] = PORTS;
    await backend.update([{ id: first?.id ?? '', port: undefined }]);
    // Told after all that: the only call there is.
    await others.load(`add element ${table} cluster-ips { 10.96.99.99 }\n`);
    await vi.waitFor(() => expect(told).toHaveBeenCalled(), { timeout: 2000 });
    expect(told).toHaveBeenCalledTimes(1);
    end();
  });

  test('clients stay with their endpoints when the table has to be made anew', async () => {
    const end = backend.watch(() => {});
    const [pool] = nft.elements(SETS.slots);
    const client = addressField('10.244.9.9') + (pool?.key.slice(0, 4) ?? '');
    const elements = [{ key: client, value: indexField(0x10000), timeoutMs: 60_000, expiresMs: 30_000 }];
    nft.commit([{ operation: 'add', set: SETS.affinity, elements }]);
    await others.load(`flush chain ${table} services\n`);
    await vi.waitFor(async () => expect(await backend.foreignChange()).toBe(true), { timeout: 2000 });
    await backend.prepare();
    await backend.rebuild(PORTS);
    const [held] = nft.elements(SETS.affinity);
    expect(held).toMatchObject({ key: client, value: indexField(0x10000), timeoutMs: 60_000 });
    expect(held?.expiresMs).toBeLessThanOrEqual(30_000);
    end();
  });
});

test('a table of an earlier version, whose maps mean something else, is replaced', async () => {
  await backend.remove();
  await others.load(`
    add table ip ${SETS.table.name}
    add map ip ${SETS.table.name} service-ips { type ipv4_addr . inet_proto . inet_service : mark; elements = { 10.96.0.80 . tcp . 80 : 2 }; }
    add map ip ${SETS.table.name} endpoints { type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service; elements = { 10.96.0.80 . tcp . 80 . 0 : 10.244.1.1 . 8080 }; }
    add map ip ${SETS.table.name} balancers { type mark : verdict; }
    add chain ip ${SETS.table.name} services
    add chain ip ${SETS.table.name} nat-prerouting { type nat hook prerouting priority dstnat; policy accept; }
    add rule ip ${SETS.table.name} nat-prerouting jump services
    add chain ip ${SETS.table.name} ruleset-0123456789ab
  `);
  const next = new NftablesBackend(nft, SETTINGS);
  await next.prepare();
  expect(await list('list', 'chains', 'ip')).toContain('ruleset-0123456789ab');
  await next.rebuild(PORTS);
  expect(await list('list', 'chains', 'ip')).not.toContain('ruleset-0123456789ab');
  const tracer = new NftablesTracer(nft, SETTINGS, { addresses: ['10.250.0.1'] });
  const packet = { source: '10.244.1.9', destination: '10.96.0.80', protocol: 'TCP', port: 80 } as const;
  expect(tracer.trace({ ...packet, inputDevice: 'veth' })).toMatchObject({ kind: 'endpoints' });
});
