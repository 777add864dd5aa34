import type { Node } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ApiClient } from '../cluster/api-client.ts';
import { ENDPOINT_SLICES, EVENTS, NODES, SERVICE_CIDRS, SERVICES } from '../cluster/resource-type.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { FakeConntrack } from '../kernel/conntrack/fake.ts';
import type { Flow } from '../kernel/conntrack/objects.ts';
import { FakeRouteKernel } from '../kernel/netlink/fake.ts';
import { createLogger } from '../log/logger.ts';
import { Ip } from '../net/ip.ts';
import type { ProxyMode } from './backend.ts';
import { ClusterFollower } from './cluster-follower.ts';
import { parseKubeProxyConfig } from './config/parse.ts';
import type { ProxyConfig } from './config/proxy-config.ts';
import { FakeApi } from './fake-api.ts';
import { FakeBackend } from './fake-backend.ts';
import { createProxyMetrics } from './metrics.ts';
import { ServiceProxy } from './proxy.ts';
import type { ServiceProxyOptions } from './proxy.ts';
import { ServiceModel } from './services/model.ts';
import type { ProxySettings } from './settings.ts';

interface Opened {
  readonly mode: ProxyMode;
  readonly settings: ProxySettings;
  readonly backend: FakeBackend;
}

let api: FakeApi;
let routes: FakeRouteKernel;
let conntrack: FakeConntrack;
let registry: Registry;
let opened: Opened[];
/** Modes whose next backend cannot be prepared. */
let refused: Set<ProxyMode>;
let control: AbortController;
let ended: Promise<void>;

beforeEach(() => {
  api = new FakeApi([SERVICES, ENDPOINT_SLICES, NODES, SERVICE_CIDRS, EVENTS]);
  routes = new FakeRouteKernel();
  conntrack = new FakeConntrack();
  registry = new Registry();
  opened = [];
  refused = new Set();
  control = new AbortController();
  ended = Promise.resolve();
});

afterEach(async () => {
  control.abort();
  await ended.catch(() => undefined);
});

function configOf(mode: ProxyMode, fields: object = {}): ProxyConfig {
  const head = { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' };
  const quick = { minSyncPeriod: '1ms' };
  const text = JSON.stringify({ ...head, mode, clusterCIDR: '10.244.0.0/16', iptables: quick, ...fields });
  return parseKubeProxyConfig(text, 'test');
}

function make(config: ProxyConfig, options: Partial<ServiceProxyOptions> = {}): ServiceProxy {
  return new ServiceProxy({
    client: api.client,
    nodeName: 'node-1',
    config,
    registry,
    logger: createLogger('proxy', 'silent'),
    kernels: {
      openBackend: async (mode, settings) => {
        const backend = new FakeBackend(mode);
        if (refused.delete(mode)) backend.refusePrepare = new FlatnetError('no', { code: 'ENOENT' });
        opened.push({ mode, settings, backend });
        return Promise.resolve(backend);
      },
      routes,
      conntrack,
      families: [4, 6],
      mayHaveLeft: () => true,
      removeKubeProxyTables: () => [],
    },
    ...options,
  });
}

function start(config: ProxyConfig): ServiceProxy {
  const proxy = make(config);
  ended = proxy.run(control.signal);
  // Looked at when the test ends.
  ended.catch(() => undefined);
  return proxy;
}

async function serving(config: ProxyConfig): Promise<ServiceProxy> {
  const proxy = start(config);
  await proxy.synced();
  // What other modes left has been looked for.
  await vi.waitFor(() => expect(opened).toHaveLength(4));
  return proxy;
}

function setNode(parts: { ips?: string[]; labels?: Record<string, string>; taints?: string[] } = {}): void {
  const { ips = ['10.250.0.1'], labels = {}, taints = [] } = parts;
  const node: Node = {
    metadata: { name: 'node-1', labels },
    spec: { podCIDRs: ['10.244.1.0/24'], taints: taints.map((key) => ({ key, effect: 'NoSchedule' })) },
    status: { addresses: ips.map((address) => ({ type: 'InternalIP', address })) },
  };
  api.set(NODES, node);
}

function setService(name: string, spec: object = {}): void {
  api.set(SERVICES, {
    metadata: { namespace: 'shop', name },
    spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 80 }], ...spec },
  } as object);
}

function setRange(name: string, cidr: string): void {
  api.set(SERVICE_CIDRS, { metadata: { name }, spec: { cidrs: [cidr] } } as object);
}

function setSlice(service: string, endpoints: EndpointSlice['endpoints'], protocol = 'TCP'): void {
  const slice: EndpointSlice = {
    metadata: { namespace: 'shop', name: `${service}-1`, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    ports: [{ port: 8080, protocol }],
    endpoints,
  };
  api.set(ENDPOINT_SLICES, slice);
}

/** An endpoint for a zone. */
const hinted = (address: string, zone: string): EndpointSlice['endpoints'][number] => ({
  addresses: [address],
  hints: { forZones: [{ name: zone }] },
});

/** To the pod 10.244.n.1. */
const flow = (n: number): Flow => ({
  family: 4,
  protocol: 17,
  original: { source: '10.244.1.9', sourcePort: n, destination: '10.96.0.1', destinationPort: 53 },
  reply: { source: `10.244.${n}.1`, sourcePort: 8080, destination: '10.244.1.9', destinationPort: n },
  id: undefined,
});

const firstOf = (mode: ProxyMode): FakeBackend | undefined =>
  opened.find((one) => one.mode === mode)?.backend;
const lastOf = (mode: ProxyMode): FakeBackend | undefined =>
  opened.findLast((one) => one.mode === mode)?.backend;
const endpointsOf = (backend: FakeBackend | undefined, id: string): string[] =>
  (backend?.ports.get(id)?.endpoints ?? []).map(({ address }) => address);
const WEB = 'shop/web:80/TCP/4';

test('a kernel that cannot serve the proxy at all is told to the caller, with or without an API server', async () => {
  const client = new ApiClient({
    // Nothing listens there: the port is that of tcpmux, and privileged.
    server: 'https://127.0.0.1:1',
    namespace: 'default',
    credentials: async () => Promise.resolve({}),
  });
  refused.add('iptables');
  const node = { ips: [Ip.parse('10.250.0.1')], podCidrs: [], zone: undefined, eligible: true };
  const proxy = make(configOf('iptables'), { client, node, serviceCidrs: [] });
  await expect(proxy.run(control.signal)).rejects.toThrow('no');
  expect(proxy.health().healthy).toBe(false);
  expect(firstOf('iptables')?.calls).toEqual(['prepare', 'close']);
  await client.close();
});

test('nothing is opened before the node has an address; then all that is known is served', async () => {
  setNode({ ips: [] });
  setService('web');
  const proxy = start(configOf('iptables'));
  await vi.waitFor(() => expect(api.watchers(NODES)).toBe(1));
  expect(opened).toEqual([]);
  expect(proxy.health()).toMatchObject({ healthy: false, live: true });
  setNode();
  await proxy.synced();
  expect(proxy.health()).toMatchObject({ healthy: true, live: true, nodeEligible: true });
  expect(opened[0]?.settings).toMatchObject({
    nodeIps: [Ip.parse('10.250.0.1')],
    nodePortAddresses: 'all',
    localhostNodePorts: true,
  });
  expect(opened[0]?.backend.ports.has(WEB)).toBe(true);
});

test('what other modes left is removed when this one serves, and not before', async () => {
  setNode();
  await serving(configOf('ipvs'));
  const others = opened.filter(({ mode }) => mode !== 'ipvs');
  expect(others.map(({ mode }) => mode)).toEqual(['userspace', 'iptables', 'nftables']);
  await vi.waitFor(() => {
    for (const { backend } of others) expect(backend.calls).toEqual(['remove', 'close']);
  });
  expect(firstOf('ipvs')?.calls).toEqual(['prepare', 'rebuild 0']);
});

test('another mode takes over with all Services; the one before is removed then, and changes go to the new one', async () => {
  setNode();
  setService('web');
  const proxy = await serving(configOf('iptables'));
  await proxy.switchTo(configOf('nftables'));
  expect(proxy.mode).toBe('nftables');
  expect(firstOf('iptables')?.calls.slice(-2)).toEqual(['remove', 'close']);
  setService('late', { clusterIPs: ['10.96.0.2'] });
  await vi.waitFor(() => expect(lastOf('nftables')?.ports.size).toBe(2));
  // The node's address alone: nftables mode's own default.
  expect(opened.at(-1)?.settings.nodePortAddresses).toEqual([Ip.parse('10.250.0.1')]);
});

test('another mode stays when the rules of the one before cannot be removed at once; they are later', async () => {
  setNode();
  setService('web');
  const proxy = await serving(configOf('iptables'));
  const old = firstOf('iptables');
  if (old !== undefined) old.refuseRemove = new Error('the lock is held');
  await proxy.switchTo(configOf('nftables'));
  expect(proxy.mode).toBe('nftables');
  await vi.waitFor(() => expect(lastOf('iptables')).not.toBe(old));
  await vi.waitFor(() => expect(lastOf('iptables')?.calls).toEqual(['remove', 'close']));
  expect(lastOf('nftables')?.ports.size).toBe(1);
  // It is the one that was asked for, so asking for the one before is a change.
  await proxy.switchTo(configOf('iptables'));
  expect(proxy.mode).toBe('iptables');
});

test('a mode that cannot serve is not taken: the one before goes on', async () => {
  setNode();
  setService('web');
  const proxy = await serving(configOf('iptables'));
  refused.add('ipvs');
  await expect(proxy.switchTo(configOf('ipvs'))).rejects.toThrow('no');
  expect(proxy.mode).toBe('iptables');
  setService('late', { clusterIPs: ['10.96.0.2'] });
  await vi.waitFor(() => expect(firstOf('iptables')?.ports.size).toBe(2));
  // The same once more, now that it can.
  await proxy.switchTo(configOf('ipvs'));
  expect(proxy.mode).toBe('ipvs');
});

test('a new address of the node makes a new backend of the same mode, which removes nothing', async () => {
  setNode();
  await serving(configOf('iptables'));
  setNode({ ips: ['10.250.0.2'] });
  await vi.waitFor(() => expect(firstOf('iptables')?.calls.at(-1)).toBe('close'));
  expect(firstOf('iptables')?.calls).not.toContain('remove');
  expect(opened.at(-1)?.settings.nodeIps).toEqual([Ip.parse('10.250.0.2')]);
});

test('what does not matter of the node changes nothing, what says that it goes makes it ineligible', async () => {
  setNode();
  const proxy = await serving(configOf('iptables'));
  setNode({ labels: { 'kubernetes.io/os': 'linux' }, taints: ['ToBeDeletedByClusterAutoscaler'] });
  await vi.waitFor(() => expect(proxy.health().nodeEligible).toBe(false));
  expect(proxy.health()).toMatchObject({ healthy: true, live: true });
  setNode();
  await vi.waitFor(() => expect(proxy.health().nodeEligible).toBe(true));
  api.delete(NODES, 'node-1');
  await vi.waitFor(() => expect(proxy.health().nodeEligible).toBe(false));
  expect(opened).toHaveLength(4);
});

test('node ports follow the addresses of the machine that are in the given networks', async () => {
  setNode();
  const link = routes.addLink({ kind: 'dummy', name: 'eth1' } as never)?.index ?? 1;
  routes.addAddress({ link, ip: Ip.parse('192.0.2.1'), prefixLength: 24 });
  await serving(configOf('iptables', { nodePortAddresses: ['192.0.2.0/24', '::1/128'] }));
  expect(opened[0]?.settings).toMatchObject({
    nodePortAddresses: [Ip.parse('192.0.2.1')],
    localhostNodePorts: false,
  });
  routes.addAddress({ link, ip: Ip.parse('198.51.100.1'), prefixLength: 24 });
  routes.addAddress({ link, ip: Ip.parse('192.0.2.2'), prefixLength: 24 });
  await vi.waitFor(() => expect(opened).toHaveLength(5));
  expect(opened[4]?.settings.nodePortAddresses).toEqual(['192.0.2.1', '192.0.2.2'].map((ip) => Ip.parse(ip)));
});

test('in nftables mode the ranges are those of the ServiceCIDR objects', async () => {
  setNode();
  setRange('kubernetes', '10.96.0.0/16');
  await serving(configOf('nftables'));
  expect(String(opened[0]?.settings.serviceCidrs)).toBe('10.96.0.0/16');
  setRange('more', '10.97.0.0/16');
  await vi.waitFor(() =>
    expect(String(opened.at(-1)?.settings.serviceCidrs)).toBe('10.96.0.0/16,10.97.0.0/16'),
  );
});

test('a cluster without ServiceCIDR objects has no ranges', async () => {
  api = new FakeApi([SERVICES, ENDPOINT_SLICES, NODES]);
  setNode();
  await serving(configOf('nftables'));
  expect(opened[0]?.settings.serviceCidrs).toEqual([]);
});

test("when the node's zone changes hints are read anew", async () => {
  setNode({ labels: { 'topology.kubernetes.io/zone': 'a' } });
  setService('web');
  setSlice('web', [hinted('10.244.1.1', 'a'), hinted('10.244.2.1', 'b')]);
  await serving(configOf('iptables'));
  expect(endpointsOf(firstOf('iptables'), WEB)).toEqual(['10.244.1.1']);
  setNode({ labels: { 'topology.kubernetes.io/zone': 'b' } });
  await vi.waitFor(() => expect(endpointsOf(firstOf('iptables'), WEB)).toEqual(['10.244.2.1']));
  await vi.waitFor(() => expect(api.watchers(ENDPOINT_SLICES)).toBe(1));
  api.delete(ENDPOINT_SLICES, 'shop/web-1');
  await vi.waitFor(() => expect(endpointsOf(firstOf('iptables'), WEB)).toEqual([]));
});

test('a zone that changes before the first list is complete holds nothing up', async () => {
  const model = new ServiceModel();
  const options = { client: api.client, model, metrics: createProxyMetrics(registry), changed: () => {} };
  const logger = createLogger('test', 'silent');
  const follower = new ClusterFollower({ ...options, logger }, { nodeName: 'node-1', zone: 'a' });
  setService('web');
  setSlice('web', [hinted('10.244.1.1', 'a'), hinted('10.244.2.1', 'b')]);
  ended = follower.run(control.signal);
  const synced = follower.synced(control.signal);
  follower.setZone('b');
  await synced;
  await vi.waitFor(() => {
    const [port] = model.portsOf('shop/web');
    expect(port?.endpoints.map(({ address }) => address)).toEqual(['10.244.2.1']);
  });
});

test('UDP flows to an endpoint that is gone are deleted when the rules are in place', async () => {
  setNode();
  setService('web', { ports: [{ port: 53, protocol: 'UDP' }] });
  setSlice('web', [{ addresses: ['10.244.1.1'] }, { addresses: ['10.244.2.1'] }], 'UDP');
  await serving(configOf('iptables'));
  conntrack.flows.push(flow(1), flow(2));
  setSlice('web', [{ addresses: ['10.244.2.1'] }], 'UDP');
  await vi.waitFor(() => expect(conntrack.flows).toEqual([flow(2)]));
  expect(await registry.metrics()).toContain(
    'kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 1',
  );
});

test('metrics tell of local policies without endpoints here, and of objects that cannot be programmed', async () => {
  setNode();
  setService('web', { internalTrafficPolicy: 'Local' });
  setService('odd', { clusterIPs: ['10.96.0.300'] });
  setSlice('web', [{ addresses: ['10.244.2.1'], nodeName: 'node-2' }]);
  await serving(configOf('iptables'));
  const text = await registry.metrics();
  expect(text).toContain(
    'kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="internal"} 1',
  );
  expect(text).toContain('flatnet_proxy_invalid_objects 1');
  setSlice('web', [{ addresses: ['10.244.1.1'], nodeName: 'node-1' }]);
  await vi.waitFor(async () =>
    expect(await registry.metrics()).toContain(
      'kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="internal"} 0',
    ),
  );
});

test('a health check whose port somebody else has is told of by an Event about the Service', async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '0.0.0.0', resolve));
  const { port } = other.address() as AddressInfo;
  try {
    setNode();
    const local = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: port };
    setService('web', local);
    await serving(configOf('iptables'));
    await vi.waitFor(() =>
      expect(api.objects(EVENTS)).toMatchObject([
        {
          type: 'Warning',
          reason: 'FailedToStartServiceHealthcheck',
          message: expect.stringContaining(
            `node node-1: cannot start the health check on port ${port}`,
          ) as unknown,
          involvedObject: { kind: 'Service', namespace: 'shop', name: 'web' },
        },
      ]),
    );
  } finally {
    other.close();
  }
});
