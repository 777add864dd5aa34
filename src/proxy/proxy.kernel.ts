import { createSocket, type Socket } from 'node:dgram';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ENDPOINT_SLICES, SERVICES } from '../cluster/resource-type.ts';
import { run } from '../kernel/exec/run.ts';
import { bindUdp } from '../kernel/netns/listen.ts';
import { Netns } from '../kernel/netns/netns.ts';
import { createLogger } from '../log/logger.ts';
import { Ip } from '../net/ip.ts';
import type { ProxyMode } from './backend.ts';
import { parseKubeProxyConfig } from './config/parse.ts';
import type { ProxyConfig } from './config/proxy-config.ts';
import { FakeApi } from './fake-api.ts';
import { ServiceProxy } from './proxy.ts';

// One network namespace whose loopback device has the addresses of two pods: the node calls its Services.

const SERVICE_IP = '10.96.0.10';
const PODS = ['10.244.1.1', '10.244.1.2'] as const;

let netns: Netns;
let api: FakeApi;
let registry: Registry;
let control: AbortController;
let ended: Promise<void>;
let sockets: Socket[];

beforeEach(async () => {
  netns = Netns.createAnonymous();
  const commands = [
    'link set lo up',
    ...[...PODS, '10.250.0.1'].map((ip) => `addr add ${ip}/32 dev lo`),
    'route add 10.96.0.0/16 dev lo src 10.250.0.1',
  ];
  for (const command of commands) await inside('ip', command.split(' '));
  api = new FakeApi([SERVICES, ENDPOINT_SLICES]);
  registry = new Registry();
  control = new AbortController();
  ended = Promise.resolve();
  sockets = [];
});

afterEach(async () => {
  control.abort();
  await ended;
  for (const socket of sockets) socket.close();
  netns.close();
});

async function inside(command: string, words: readonly string[]): Promise<string> {
  const path = `/proc/${process.pid}/fd/${netns.fd}`;
  return (await run('nsenter', [`--net=${path}`, command, ...words])).stdout;
}

function configOf(mode: ProxyMode): ProxyConfig {
  const head = { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' };
  const file = { ...head, mode, clusterCIDR: '10.244.0.0/16', iptables: { minSyncPeriod: '1ms' } };
  return parseKubeProxyConfig(JSON.stringify(file), 'test');
}

async function serve(mode: ProxyMode): Promise<ServiceProxy> {
  const proxy = new ServiceProxy({
    client: api.client,
    nodeName: 'node-1',
    config: configOf(mode),
    node: { ips: [Ip.parse('10.250.0.1')], podCidrs: [], zone: undefined, eligible: true },
    serviceCidrs: [],
    registry,
    logger: createLogger('proxy', process.env['FNT_LOG'] ?? 'silent'),
    netns: netns.fd,
  });
  ended = proxy.run(control.signal);
  await Promise.race([proxy.synced(), ended]);
  return proxy;
}

function setService(): void {
  const spec = { clusterIPs: [SERVICE_IP], ports: [{ port: 53, protocol: 'UDP' }] };
  api.set(SERVICES, { metadata: { namespace: 'test', name: 'dns' }, spec } as object);
}

function setPods(pods: readonly string[]): void {
  const slice: EndpointSlice = {
    metadata: { namespace: 'test', name: 'dns-1', labels: { 'kubernetes.io/service-name': 'dns' } },
    addressType: 'IPv4',
    ports: [{ port: 5353, protocol: 'UDP' }],
    endpoints: pods.map((address) => ({ addresses: [address], nodeName: 'node-1' })),
  };
  api.set(ENDPOINT_SLICES, slice);
}

function socketAt(address: string, port: number): Socket {
  const socket = createSocket('udp4');
  socket.bind({ fd: bindUdp(Ip.parse(address), port, { netns: netns.fd }) });
  socket.on('error', () => undefined);
  sockets.push(socket);
  return socket;
}

/** A pod that answers with its own address. */
function answerAt(address: string): void {
  const socket = socketAt(address, 5353);
  socket.on('message', (_, from) => socket.send(address, from.port, from.address));
}

/** One client that keeps its port, as a resolver does. */
class Client {
  readonly #socket = socketAt('10.250.0.1', 40_000);
  #answer: string | undefined;

  constructor() {
    this.#socket.on('message', (text) => (this.#answer = text.toString()));
  }

  /** Who answers; undefined: nobody within 200 ms. */
  async ask(): Promise<string | undefined> {
    this.#answer = undefined;
    this.#socket.send('x', 53, SERVICE_IP);
    await vi
      .waitUntil(() => this.#answer !== undefined, { timeout: 200, interval: 5 })
      .catch(() => undefined);
    return this.#answer;
  }
}

test.each(['nftables', 'iptables'] as const)(
  '%s: a UDP client that keeps its port reaches another endpoint when its own is gone, and the first that comes',
  async (mode) => {
    for (const pod of PODS) answerAt(pod);
    setService();
    await serve(mode);
    const client = new Client();
    expect(await client.ask()).toBeUndefined();
    setPods([PODS[0]]);
    await vi.waitFor(async () => expect(await client.ask()).toBe(PODS[0]), { timeout: 5000 });
    setPods([PODS[1]]);
    await vi.waitFor(async () => expect(await client.ask()).toBe(PODS[1]), { timeout: 5000 });
    expect(await registry.metrics()).toMatch(
      /kubeproxy_conntrack_reconciler_deleted_entries_total\{ip_family="IPv4"\} [1-9]/,
    );
  },
);

const SPOIL: Readonly<Record<string, readonly [ProxyMode, string, string]>> = {
  'a table of nftables that is deleted': ['nftables', 'nft', 'delete table ip flatnet-proxy'],
  'a set of nftables that is flushed': ['nftables', 'nft', 'flush map ip flatnet-proxy endpoints'],
  'a chain of iptables that is flushed': ['iptables', 'iptables', '-t nat -F KUBE-SERVICES'],
  'all of iptables that is flushed': ['iptables', 'iptables', '-t nat -F'],
};

test.each(Object.entries(SPOIL))('%s is repaired within five seconds', async (_, [mode, tool, words]) => {
  answerAt(PODS[0]);
  setService();
  setPods([PODS[0]]);
  await serve(mode);
  const client = new Client();
  await vi.waitFor(async () => expect(await client.ask()).toBe(PODS[0]));
  await inside(tool, words.split(' '));
  await inside('conntrack', ['-D', '-p', 'udp']).catch(() => undefined);
  await vi.waitFor(async () => expect(await client.ask()).toBe(PODS[0]), { timeout: 5000 });
  expect(await registry.metrics()).toContain('flatnet_proxy_foreign_changes_total 1');
});

test('modes take over from each other, and leave nothing of the one before', async () => {
  for (const pod of PODS) answerAt(pod);
  setService();
  setPods([PODS[0]]);
  const proxy = await serve('iptables');
  const client = new Client();
  await vi.waitFor(async () => expect(await client.ask()).toBe(PODS[0]));
  for (const mode of ['nftables', 'userspace', 'iptables'] as const) {
    await proxy.switchTo(configOf(mode));
    expect(proxy.mode).toBe(mode);
    await vi.waitFor(async () => expect(await client.ask()).toBe(PODS[0]));
  }
  expect(await inside('nft', ['list', 'tables'])).not.toContain('flatnet-proxy');
  await proxy.switchTo(configOf('nftables'));
  expect(await inside('iptables-save', [])).not.toContain('KUBE-SERVICES');
});

test('what another mode left is removed once this one serves', async () => {
  answerAt(PODS[0]);
  setService();
  setPods([PODS[0]]);
  await serve('iptables');
  control.abort();
  await ended;
  control = new AbortController();
  expect(await inside('iptables-save', [])).toContain('KUBE-SERVICES');
  await inside('nft', ['add table ip6 kube-proxy']);
  await serve('nftables');
  await vi.waitFor(async () => expect(await inside('iptables-save', [])).not.toContain('KUBE-SERVICES'), {
    timeout: 10_000,
  });
  expect(await inside('nft', ['list', 'tables'])).not.toContain('kube-proxy');
  const client = new Client();
  await vi.waitFor(async () => expect(await client.ask()).toBe(PODS[0]));
});
