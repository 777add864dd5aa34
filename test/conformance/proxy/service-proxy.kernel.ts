import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { RecordedApi, SERVICES_PATH, SLICES_PATH } from '../../../src/bench/proxy/recorded-api.ts';
import { RECORDED_SERVICE, RECORDED_SLICE } from '../../../src/bench/proxy/recorded-messages.ts';
import {
  podIp,
  recordedService,
  recordedSlice,
  serviceKey,
} from '../../../src/bench/proxy/recorded-objects.ts';
import { ApiClient } from '../../../src/cluster/api-client.ts';
import { Netns } from '../../../src/kernel/netns/netns.ts';
import { endpointData } from '../../../src/kernel/nft/field.ts';
import { NftSocket } from '../../../src/kernel/nft/nft-socket.ts';
import { createLogger } from '../../../src/log/logger.ts';
import { Ip } from '../../../src/net/ip.ts';
import { proxySets } from '../../../src/proxy/backends/nftables/sets.ts';
import { parseKubeProxyConfig } from '../../../src/proxy/config/parse.ts';
import { ServiceProxy } from '../../../src/proxy/proxy.ts';

const SETS = proxySets(4);
const SERVICES = 3;
const CONFIG = {
  apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
  kind: 'KubeProxyConfiguration',
  mode: 'nftables',
  clusterCIDR: '10.128.0.0/9',
};

let netns: Netns;
let nft: NftSocket;
let api: RecordedApi;
let client: ApiClient;
let running: { proxy: ServiceProxy; stop: () => Promise<void> }[];

beforeEach(async () => {
  netns = Netns.createAnonymous();
  nft = NftSocket.open({ netns: netns.fd });
  const indexes = Array.from({ length: SERVICES }, (_, index) => index);
  const byName = (text: (index: number) => unknown): Map<string, string> =>
    new Map(indexes.map((index) => [serviceKey(index), JSON.stringify(text(index))]));
  api = new RecordedApi([
    {
      path: SERVICES_PATH,
      listKind: 'ServiceList',
      message: RECORDED_SERVICE,
      objects: byName(recordedService),
    },
    {
      path: SLICES_PATH,
      listKind: 'EndpointSliceList',
      message: RECORDED_SLICE,
      objects: byName((index) => recordedSlice(index, [index], index + 1)),
    },
  ]);
  const home = Netns.current();
  const server = await api.listen(home.fd);
  home.close();
  client = new ApiClient({
    server,
    certificateAuthority: api.certificateAuthority,
    namespace: 'default',
    credentials: async () => Promise.resolve({}),
  });
  running = [];
});

afterEach(async () => {
  for (const { stop } of running) await stop();
  await client.close();
  await api.close();
  nft.close();
  netns.close();
});

function start(registry = new Registry()): ServiceProxy {
  const proxy = new ServiceProxy({
    client,
    nodeName: 'node-0',
    config: parseKubeProxyConfig(JSON.stringify(CONFIG), 'test'),
    node: { ips: [Ip.parse('10.250.0.1')], podCidrs: [], zone: undefined, eligible: true },
    serviceCidrs: [],
    registry,
    logger: createLogger('proxy', 'silent'),
    netns: netns.fd,
  });
  const control = new AbortController();
  const ended = proxy.run(control.signal);
  running.push({
    proxy,
    stop: async () => {
      control.abort();
      await ended;
    },
  });
  return proxy;
}

const modify = (index: number, pods: number[]): void =>
  api.modify(SLICES_PATH, serviceKey(index), JSON.stringify(recordedSlice(index, pods, 100)));
const endpoints = (): string[] => nft.elements(SETS.endpoints).map(({ value }) => value ?? '');
const endpointOf = (pod: number): string => endpointData(podIp(pod), 8080);

test('what the API lists is in the kernel once synced, and what it tells later soon after', async () => {
  const registry = new Registry();
  const proxy = start(registry);
  expect(proxy.health().healthy).toBe(false);
  await proxy.synced();
  expect(proxy.health().healthy).toBe(true);
  expect(endpoints().sort()).toEqual([0, 1, 2].map(endpointOf).sort());
  await api.watched();
  modify(1, [7, 8]);
  await vi.waitFor(() => expect(endpoints().sort()).toEqual([0, 2, 7, 8].map(endpointOf).sort()));
  const metrics = await registry.metrics();
  expect(metrics).toContain('kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1');
  expect(metrics).toContain('kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 1');
  expect(metrics).toContain('kubeproxy_sync_proxy_rules_endpoint_changes_pending 0');
});

test('stopped it leaves everything in place; started again it changes nothing', async () => {
  await start().synced();
  await running.pop()?.stop();
  expect(endpoints()).toHaveLength(SERVICES);
  const generation = nft.generation();
  await start().synced();
  expect(nft.generation()).toBe(generation);
  expect(endpoints()).toHaveLength(SERVICES);
});

test('when its table is deleted it says so at the next change, and puts everything back', async () => {
  const registry = new Registry();
  const proxy = start(registry);
  await proxy.synced();
  await api.watched();
  await nft.load('delete table ip flatnet-proxy\n');
  modify(0, [9]);
  await vi.waitFor(() => expect(endpoints().sort()).toEqual([1, 2, 9].map(endpointOf).sort()), {
    timeout: 5000,
  });
  await vi.waitFor(() => expect(proxy.health().healthy).toBe(true));
  expect(await registry.metrics()).toContain(
    'kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 1',
  );
});
