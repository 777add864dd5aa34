import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { ApiClient } from '../cluster/api-client.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { FakeConntrack } from '../kernel/conntrack/fake.ts';
import { FakeNft } from '../kernel/nft/fake.ts';
import { createLogger } from '../log/logger.ts';
import { Ip } from '../net/ip.ts';
import { ServiceProxy } from './proxy.ts';

class RefusingNft extends FakeNft {
  override async load(): Promise<void> {
    return Promise.reject(new FlatnetError('nft: not found', { code: 'ENOENT' }));
  }
}

test('a kernel that cannot serve the proxy at all is told to the caller, with or without an API server', async () => {
  const client = new ApiClient({
    // Nothing listens there: the port is that of tcpmux, and privileged.
    server: 'https://127.0.0.1:1',
    namespace: 'default',
    credentials: async () => Promise.resolve({}),
  });
  const proxy = new ServiceProxy({
    client,
    nodeName: 'node-0',
    nodeIps: [Ip.parse('10.250.0.1')],
    clusterCidrs: [],
    registry: new Registry(),
    logger: createLogger('proxy', 'silent'),
    kernel: { nft: new RefusingNft(), conntrack: new FakeConntrack() },
  });
  await expect(proxy.run(new AbortController().signal)).rejects.toThrow('nft: not found');
  expect(proxy.health().healthy).toBe(false);
  await client.close();
});
