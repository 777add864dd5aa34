import type { Node } from 'kubernetes-types/core/v1.js';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { NODES } from '../cluster/resource-type.ts';
import { createLogger } from '../log/logger.ts';
import { FakeApi } from './fake-api.ts';
import { NodeWatch } from './node-watch.ts';

let api: FakeApi;
let control: AbortController;
let running: Promise<void>;

beforeEach(() => {
  api = new FakeApi([NODES]);
  control = new AbortController();
});

afterEach(async () => {
  control.abort();
  await running;
});

function watch(options: { needsPodCidrs?: boolean; timeoutMs?: number } = {}): NodeWatch {
  const { needsPodCidrs = false, timeoutMs = 3000 } = options;
  const logger = createLogger('proxy', 'silent');
  const made = new NodeWatch({ client: api.client, nodeName: 'node-1', needsPodCidrs, logger, timeoutMs });
  running = made.run(control.signal);
  return made;
}

function setNode(addresses: { type: string; address: string }[], podCIDRs?: string[]): void {
  const node: Node = {
    metadata: { name: 'node-1' },
    spec: podCIDRs === undefined ? {} : { podCIDRs },
    status: { addresses },
  };
  api.set(NODES, node);
}

const INTERNAL = { type: 'InternalIP', address: '192.0.2.1' };

test('the first address counts, and the first of the other family; ExternalIPs come last', async () => {
  setNode([
    { type: 'Hostname', address: 'node-1' },
    { type: 'ExternalIP', address: '2001:db8::1' },
    INTERNAL,
    { type: 'InternalIP', address: '192.0.2.2' },
  ]);
  const facts = await watch().ready(control.signal);
  expect(facts?.ips.map(String)).toEqual(['192.0.2.1', '2001:db8::1']);
});

test('it waits until the Node is there, has an address, and a pod range where one is needed', async () => {
  const ready = watch({ needsPodCidrs: true }).ready(control.signal);
  setNode([]);
  setNode([INTERNAL]);
  setNode([INTERNAL], ['10.244.1.0/24']);
  expect((await ready)?.podCidrs.map(String)).toEqual(['10.244.1.0/24']);
});

test('a Node that loses its address and its range for a while keeps those that were known', async () => {
  setNode([INTERNAL], ['10.244.1.0/24']);
  const made = watch();
  await made.ready(control.signal);
  const changed = vi.fn<() => void>();
  made.onChange = changed;
  setNode([]);
  await vi.waitFor(() => expect(changed).toHaveBeenCalled());
  expect(made.facts?.ips.map(String)).toEqual(['192.0.2.1']);
  expect(made.facts?.podCidrs.map(String)).toEqual(['10.244.1.0/24']);
  setNode([{ type: 'InternalIP', address: '192.0.2.9' }]);
  await vi.waitFor(() => expect(made.facts?.ips.map(String)).toEqual(['192.0.2.9']));
});

test.each([
  [undefined, 'there is no Node node-1'],
  [[], 'Node node-1 has no InternalIP'],
  [[INTERNAL], 'Node node-1 has no spec.podCIDRs'],
])('after its time it says what is missing: %j', async (addresses, message) => {
  if (addresses !== undefined) setNode(addresses);
  const ready = watch({ needsPodCidrs: true, timeoutMs: 300 }).ready(control.signal);
  await expect(ready).rejects.toThrow(
    expect.objectContaining({
      code: 'NODE_UNKNOWN',
      message: expect.stringContaining(message) as unknown,
      hint: expect.stringContaining('--hostname-override') as unknown,
    }),
  );
});

test('an end before that is no error', async () => {
  const ready = watch().ready(control.signal);
  await vi.waitUntil(() => api.watchers(NODES) === 1);
  control.abort();
  expect(await ready).toBeUndefined();
});
