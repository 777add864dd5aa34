import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { ApiClient } from '../cluster/api-client.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { FakeConntrack } from '../kernel/conntrack/fake.ts';
import { FakeNetwork } from '../kernel/netlink/fake.ts';
import { createLogger } from '../log/logger.ts';
import { Ip } from '../net/ip.ts';
import { defaultKubeProxyConfig } from './config/parse.ts';
import { FakeBackend } from './fake-backend.ts';
import { ServiceProxy } from './proxy.ts';

test('a kernel that cannot serve the proxy at all is told to the caller, with or without an API server', async () => {
  const client = new ApiClient({
    // Nothing listens there: the port is that of tcpmux, and privileged.
    server: 'https://127.0.0.1:1',
    namespace: 'default',
    credentials: async () => Promise.resolve({}),
  });
  const backend = new FakeBackend('iptables');
  backend.refusePrepare = new FlatnetError('iptables: not found', { code: 'ENOENT' });
  const proxy = new ServiceProxy({
    client,
    nodeName: 'node-0',
    config: defaultKubeProxyConfig(),
    node: { ips: [Ip.parse('10.250.0.1')], podCidrs: [], zone: undefined, eligible: true },
    serviceCidrs: [],
    registry: new Registry(),
    logger: createLogger('proxy', 'silent'),
    kernels: {
      openBackend: async () => Promise.resolve(backend),
      routes: new FakeNetwork().kernel(1),
      conntrack: new FakeConntrack(),
      families: [4, 6],
    },
  });
  await expect(proxy.run(new AbortController().signal)).rejects.toThrow('iptables: not found');
  expect(proxy.health().healthy).toBe(false);
  expect(backend.calls).toEqual(['prepare', 'close']);
  await client.close();
});
