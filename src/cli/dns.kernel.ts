import { createServer } from 'node:net';
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ClusterAccess } from '../cluster/access.ts';
import { ApiClient } from '../cluster/api-client.ts';
import { ENDPOINT_SLICES, SERVICES } from '../cluster/resource-type.ts';
import { serveDns } from '../dns/dns-server.ts';
import { parseListenAddress } from '../dns/listen-address.ts';
import { run } from '../kernel/exec/run.ts';
import { ApiServer } from '../lab/apiserver/api-server.ts';
import { createLogger } from '../log/logger.ts';

// The whole name server against a Kubernetes API, asked by dig.
const stop = new AbortController();
const ADMIN = { username: 'admin', groups: ['system:masters'] };
let ports = { api: 0, dns: 0, ready: 0 };
let api: ApiServer | undefined;
let client: ApiClient;
let serving: Promise<void>;

beforeAll(async () => {
  ports = { api: await freePort(), dns: await freePort(), ready: await freePort() };
  const access: ClusterAccess = {
    server: `https://127.0.0.1:${ports.api}`,
    insecureSkipTlsVerify: true,
    namespace: 'default',
    credentials: async () => ({ authorization: 'Bearer test' }),
  };
  client = new ApiClient(access);
  serving = serveDns(
    {
      access,
      zone: 'cluster.local',
      ttl: 30,
      listen: parseListenAddress(`127.0.0.1:${ports.dns}`),
      metricsAddress: undefined,
      healthAddress: undefined,
      readyAddress: parseListenAddress(`127.0.0.1:${ports.ready}`),
      upstreams: [],
      reverseNetworks: [],
      lameduckMs: 0,
      version: 'test',
      logger: createLogger('dns-test', 'silent'),
    },
    stop.signal,
  );
});

afterAll(async () => {
  stop.abort();
  await serving;
  await client.close();
  await api?.close();
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function dig(...args: string[]): Promise<string> {
  const fixed = ['@127.0.0.1', '-p', String(ports.dns), '+tries=1', '+timeout=2'];
  return (await run('dig', [...fixed, ...args])).stdout;
}

async function ready(): Promise<number> {
  return (await fetch(`http://127.0.0.1:${ports.ready}/ready`)).status;
}

test('without an API server it is not ready and says nothing about the cluster', async () => {
  await expect.poll(async () => ready().catch(() => 0), { timeout: 5000 }).toBe(503);
  expect(await dig('kubernetes.default.svc.cluster.local')).toMatch(/status: SERVFAIL[\s\S]*EDE: 14/);
});

test('it finds the API server when that comes up', async () => {
  api = await ApiServer.start({
    listen: [{ host: '127.0.0.1', port: ports.api }],
    advertise: { host: '127.0.0.1' },
    serviceCidrs: ['10.96.0.0/16'],
    tokens: new Map([['test', ADMIN]]),
  });
  await expect.poll(ready, { timeout: 10_000 }).toBe(200);
  expect(await dig('+short', 'kubernetes.default.svc.cluster.local')).toBe('10.96.0.1\n');
});

test('it follows Services and their endpoints', async () => {
  await client.create(SERVICES, {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'default', name: 'pets' },
    spec: { clusterIP: 'None', ports: [{ name: 'http', port: 80 }] },
  });
  await client.create(ENDPOINT_SLICES, {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace: 'default', name: 'pets-1', labels: { 'kubernetes.io/service-name': 'pets' } },
    addressType: 'IPv4',
    endpoints: [
      { addresses: ['10.244.1.5'], hostname: 'cat', conditions: { ready: true } },
      { addresses: ['10.244.2.5'], hostname: 'dog', conditions: { ready: false } },
    ],
    ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
  });
  const ask = async (): Promise<string> => dig('+short', 'pets.default.svc.cluster.local');
  await expect.poll(ask).toBe('10.244.1.5\n');
  expect(await dig('+short', '_http._tcp.pets.default.svc.cluster.local', 'SRV')).toBe(
    '0 100 80 cat.pets.default.svc.cluster.local.\n',
  );
  await client.delete(SERVICES, { namespace: 'default', name: 'pets' });
  await expect.poll(ask).toBe('');
});
