import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '../log/logger.ts';
import { parseEndpoint } from './endpoint.ts';
import { EtcdClient } from './etcd-client.ts';
import { KeyMirror } from './key-mirror.ts';
import { RealEtcd } from './real-etcd.ts';

let etcd: RealEtcd;
let client: EtcdClient;
let ending: AbortController;
let running: Promise<void>;

beforeEach(async () => {
  etcd = await RealEtcd.start();
  client = new EtcdClient(
    { endpoints: [parseEndpoint(etcd.endpoint)] },
    { timeoutMs: 5000, keepAliveMs: 400 },
  );
  ending = new AbortController();
});
afterEach(async () => {
  ending.abort();
  await running;
  client.close();
  await etcd.remove();
});

/** What is told, in order. */
function mirror(graceMs: number): string[] {
  const told: string[] = [];
  const handler = {
    put: ({ key, value }: { key: string; value: string }) => told.push(`${key}=${value}`),
    deleted: ({ key }: { key: string }) => told.push(`-${key}`),
    listed: () => told.push('listed'),
  };
  running = new KeyMirror(client, '/m/', handler, createLogger('mirror', 'silent'), graceMs).run(
    ending.signal,
  );
  return told;
}

const PATIENCE = { timeout: 15_000 };

test('a list, then every change once', async () => {
  await etcd.ctl('put', '/m/a', '1');
  await etcd.ctl('put', '/n', '1');
  const told = mirror(1000);
  await expect.poll(() => told, PATIENCE).toEqual(['/m/a=1', 'listed']);
  await etcd.ctl('put', '/m/b', '2');
  await etcd.ctl('del', '/m/a');
  await expect.poll(() => told.slice(2), PATIENCE).toEqual(['/m/b=2', '-/m/a']);
});

test('after a silence the watch goes on where it was', async () => {
  await etcd.ctl('put', '/m/a', '1');
  const told = mirror(1000);
  await expect.poll(() => told.length, PATIENCE).toBe(2);
  await etcd.stop();
  await etcd.start();
  await etcd.ctl('put', '/m/a', '2');
  await etcd.ctl('put', '/m/a', '3');
  await expect.poll(() => told.slice(2), PATIENCE).toEqual(['/m/a=2', '/m/a=3']);
});

test('keys that an etcd has lost stay for a while, in which they may be written again', async () => {
  for (const key of ['/m/a', '/m/b', '/x', '/x', '/x', '/x']) await etcd.ctl('put', key, '1');
  const told = mirror(1500);
  await expect.poll(() => told, PATIENCE).toEqual(['/m/a=1', '/m/b=1', 'listed']);
  await etcd.wipe();
  await expect.poll(() => told.length, PATIENCE).toBe(4);
  await etcd.ctl('put', '/m/a', 'again');
  await expect.poll(() => told.slice(4), PATIENCE).toEqual(['/m/a=again', '-/m/b']);
});
