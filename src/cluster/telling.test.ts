import type { ServerResponse } from 'node:http';
import type { Event } from 'kubernetes-types/core/v1.js';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ApiClient } from './api-client.ts';
import { EventRecorder } from './event-recorder.ts';
import { keepLease } from './lease.ts';
import { refuse, UnrulyServer } from './unruly-server.ts';

let server: UnrulyServer;
let client: ApiClient;
let abort: AbortController;

beforeEach(async () => {
  server = await UnrulyServer.start();
  client = new ApiClient(server.access());
  abort = new AbortController();
});

afterEach(async () => {
  abort.abort();
  await client.close();
  await server.stop();
});

const calls = (): string[] => server.requests.map(({ method, url }) => `${method} ${url.pathname}`);
const eventually = async (assertion: () => void): Promise<void> => {
  await vi.waitFor(assertion, { interval: 2, timeout: 3000 });
};

const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', namespace: 'shop', uid: 'u1' } };
const recorder = (): EventRecorder =>
  new EventRecorder(client, { component: 'tester', host: 'node-1', signal: abort.signal });

const refuseWith = (status: number) => (_: unknown, response: ServerResponse) => {
  refuse(response, status, 'Refused');
  return true;
};

describe('Events', () => {
  test('say what happened to which object', async () => {
    recorder().record(pod, 'Warning', 'Failed', 'it broke');
    await eventually(() => expect(calls()).toEqual(['POST /api/v1/namespaces/shop/events']));
    expect(server.bodies[0]).toMatchObject({
      involvedObject: { kind: 'Pod', name: 'web', namespace: 'shop', uid: 'u1' },
      type: 'Warning',
      reason: 'Failed',
      message: 'it broke',
      count: 1,
      source: { component: 'tester', host: 'node-1' },
    });
  });

  test('are counted, not repeated', async () => {
    const events = recorder();
    events.record(pod, 'Warning', 'Failed', 'it broke');
    await eventually(() => expect(server.bodies).toHaveLength(1));
    for (let i = 0; i < 9; i += 1) events.record(pod, 'Warning', 'Failed', 'it broke');
    await eventually(() => expect(server.bodies.at(-1)).toMatchObject({ count: 10 }));
    const name = (server.bodies[0] as Event).metadata.name;
    expect(
      calls()
        .slice(1)
        .every((call) => call === `PATCH /api/v1/namespaces/shop/events/${name}`),
    ).toBe(true);
  });

  test('about one object never flood, about another still come', async () => {
    const events = recorder();
    for (let i = 0; i < 1000; i += 1) events.record(pod, 'Normal', 'Loop', `round ${i}`);
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' } };
    events.record(node, 'Normal', 'Other', 'hello');
    await eventually(() => expect(calls().at(-1)).toBe('POST /api/v1/namespaces/default/events'));
    expect(server.bodies).toHaveLength(26);
  });

  test('that the server forgot are told anew; one it refuses stops nobody', async () => {
    const events = recorder();
    events.record(pod, 'Normal', 'A', 'a');
    await eventually(() => expect(server.bodies).toHaveLength(1));
    server.misbehave(refuseWith(404));
    events.record(pod, 'Normal', 'A', 'a');
    await eventually(() =>
      expect(calls().map((call) => call.split(' ')[0])).toEqual(['POST', 'PATCH', 'POST']),
    );
    server.misbehave(refuseWith(422));
    events.record(pod, 'Normal', 'B', 'b');
    events.record(pod, 'Normal', 'C', 'c');
    await eventually(() => expect(server.bodies.at(-1)).toMatchObject({ reason: 'C' }));
  });
});

test('a lease is made when it is not there, then renewed until the end', async () => {
  server.misbehave((_, response) => {
    refuse(response, 404, 'NotFound');
    return true;
  });
  const lease = { namespace: 'kube-node-lease', name: 'node-1', holder: 'node-1', renewIntervalMs: 5 };
  const kept = keepLease(client, lease, abort.signal);
  await eventually(() => expect(server.bodies.length).toBeGreaterThanOrEqual(4));
  abort.abort();
  await kept;
  const path = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
  expect(calls().slice(0, 3)).toEqual([`PATCH ${path}/node-1`, `POST ${path}`, `PATCH ${path}/node-1`]);
  expect(server.bodies[1]).toMatchObject({
    spec: {
      holderIdentity: 'node-1',
      leaseDurationSeconds: 40,
      renewTime: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/) as string,
    },
  });
});
