import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { EtcdClient } from './etcd-client.ts';
import { isEtcdError } from './etcd-error.ts';
import { parseEndpoint, type Endpoint } from './endpoint.ts';
import { RealEtcd } from './real-etcd.ts';
import type { WatchBatch, WatchEvent } from './watch.ts';

const endpointsOf = (...texts: string[]): [Endpoint, ...Endpoint[]] =>
  texts.map(parseEndpoint) as [Endpoint, ...Endpoint[]];

const describeEvent = (event: WatchEvent): string =>
  event.type === 'put' ? `put ${event.keyValue.key}=${event.keyValue.value}` : `delete ${event.key}`;

/** The first `count` events. */
async function take(watch: AsyncGenerator<WatchBatch>, count: number): Promise<string[]> {
  const seen: string[] = [];
  for await (const { events } of watch) {
    seen.push(...events.map(describeEvent));
    if (seen.length >= count) break;
  }
  return seen;
}

async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('one etcd', () => {
  let etcd: RealEtcd;
  let client: EtcdClient;
  const ending = new AbortController();

  beforeEach(async () => {
    etcd = await RealEtcd.start();
    client = new EtcdClient({ endpoints: endpointsOf(etcd.endpoint) });
  });
  afterEach(async () => {
    client.close();
    await etcd.remove();
  });

  test('reads what etcdctl wrote, and writes under conditions', async () => {
    await etcd.ctl('put', '/a/1', 'one');
    const { found } = await client.get('/a/1');
    expect(found).toMatchObject({ value: 'one', leaseId: '0' });
    expect((await client.get('/a/2')).found).toBeUndefined();
    const put = { type: 'put', key: '/a/2', value: 'two', leaseId: '0' } as const;
    expect(await client.commit('x', [{ type: 'absent', key: '/a/2' }], [put])).toMatchObject({
      succeeded: true,
    });
    expect(await client.commit('x', [{ type: 'absent', key: '/a/2' }], [put])).toMatchObject({
      succeeded: false,
    });
    const { keys } = await client.list('/a/');
    expect(keys.map(({ key, value }) => `${key}=${value}`)).toEqual(['/a/1=one', '/a/2=two']);
    const none = { type: 'none-in', from: '/a/3', to: "/a/3'" } as const;
    expect((await client.commit('x', [none], [{ ...put, key: '/a/3&x' }])).succeeded).toBe(true);
    expect((await client.commit('x', [none], [put])).succeeded).toBe(false);
    const seen = { type: 'unchanged', key: '/a/1', modRevision: found?.modRevision ?? 0 } as const;
    expect((await client.commit('x', [seen], [{ type: 'delete', key: '/a/1' }])).succeeded).toBe(true);
    expect((await client.commit('x', [seen], [{ type: 'delete', key: '/a/1' }])).succeeded).toBe(false);
    expect(await etcd.ctl('get', '/a/', '--prefix', '--keys-only')).toBe('/a/2\n\n/a/3&x');
  });

  test('leases are renewed, and end with their keys', async () => {
    const { leaseId, ttlSeconds } = await client.grantLease(86_400);
    expect(ttlSeconds).toBe(86_400);
    await client.commit('x', [], [{ type: 'put', key: '/k', value: 'v', leaseId }]);
    expect((await client.get('/k')).found?.leaseId).toBe(leaseId);
    expect(await client.renewLease(leaseId)).toBe(86_400);
    await client.revokeLease(leaseId);
    expect((await client.get('/k')).found).toBeUndefined();
    expect(isEtcdError(await errorOf(client.renewLease(leaseId)), 'ETCD_LEASE_NOT_FOUND')).toBe(true);
  });

  test('a watch tells changes from a revision on, and says when that one is compacted', async () => {
    await etcd.ctl('put', '/w/1', 'a');
    const { revision } = await client.list('/w/');
    await etcd.ctl('put', '/w/1', 'b');
    await etcd.ctl('put', '/other', 'b');
    await etcd.ctl('del', '/w/1');
    const range = { key: '/w/', isPrefix: true };
    expect(await take(client.watch(range, revision + 1, ending.signal), 2)).toEqual([
      'put /w/1=b',
      'delete /w/1',
    ]);
    await etcd.ctl('compaction', String(revision + 3));
    const error = await errorOf(take(client.watch(range, revision + 1, ending.signal), 1));
    expect(isEtcdError(error, 'ETCD_COMPACTED')).toBe(true);
  });

  test('a watch ends with its signal, and with its etcd', async () => {
    const abort = new AbortController();
    const watch = client.watch({ key: '/w', isPrefix: false }, 1, abort.signal);
    expect((await watch.next()).value).toEqual({ events: [], revision: 0 });
    abort.abort();
    expect(await watch.next()).toEqual({ done: true, value: undefined });

    const second = client.watch({ key: '/w', isPrefix: false }, 1, ending.signal);
    await second.next();
    const next = errorOf(second.next());
    await etcd.stop();
    expect(await next).toMatchObject({ code: 'ETCD_UNAVAILABLE', retryable: true });
    expect(await errorOf(client.get('/w'))).toMatchObject({ code: 'ETCD_UNAVAILABLE', retryable: true });
    await etcd.start();
    expect((await client.get('/w')).found).toBeUndefined();
  });

  test('what does not answer is an error in time', async () => {
    const hasty = new EtcdClient({ endpoints: endpointsOf(etcd.endpoint) }, { timeoutMs: 300 });
    await hasty.get('/k');
    etcd.freeze(true);
    try {
      expect(await errorOf(hasty.get('/k'))).toMatchObject({ code: 'ETCD_TIMEOUT', retryable: true });
    } finally {
      etcd.freeze(false);
    }
    expect((await hasty.get('/k')).found).toBeUndefined();
    hasty.close();
  });

  test('the next endpoint serves when one is dead', async () => {
    const dead = 'http://127.0.0.1:1';
    const several = new EtcdClient({ endpoints: endpointsOf(dead, dead, etcd.endpoint) });
    // A write that surely was not sent goes on, too.
    await several.commit('x', [], [{ type: 'put', key: '/k', value: 'v', leaseId: '0' }]);
    expect((await several.get('/k')).found?.value).toBe('v');
    expect(several.endpoint).toBe(etcd.endpoint);
    several.close();
  });
});
