import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { CONFIG_MAPS, NAMESPACES } from '../../cluster/resource-type.ts';
import { TestCluster } from './test-cluster.ts';

let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start(1500);
});

afterAll(async () => {
  await cluster.stop();
});

test('a namespace that cannot go says what keeps it, and goes with the last finalizer', async () => {
  const { client } = cluster;
  await client.create(NAMESPACES, { metadata: { name: 'held' } });
  const finalizers = ['example.com/hold'];
  await client.create(CONFIG_MAPS, { metadata: { name: 'holder', namespace: 'held', finalizers } });
  await client.delete(NAMESPACES, { name: 'held' });
  await vi.waitFor(async () => {
    const { status } = await client.get(NAMESPACES, { name: 'held' });
    expect(status?.phase).toBe('Terminating');
    expect(status?.conditions).toMatchObject([
      {
        type: 'NamespaceContentRemaining',
        status: 'True',
        message: 'Some resources are remaining: configmaps. has 1 resource instances',
      },
    ]);
  });
  const body = { metadata: { finalizers: [] } };
  await client.patch(CONFIG_MAPS, { name: 'holder', namespace: 'held' }, { type: 'merge', body });
  await vi.waitFor(async () =>
    expect(client.get(NAMESPACES, { name: 'held' })).rejects.toThrow('"held" not found'),
  );
});
