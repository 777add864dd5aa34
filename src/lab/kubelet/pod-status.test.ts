import type { ContainerState, Pod } from 'kubernetes-types/core/v1.js';
import { describe, expect, test } from 'vitest';
import { podPhase, podStatus, type ContainerView, type PodView } from './pod-status.ts';

const RUNNING: ContainerState = { running: { startedAt: '2024-01-01T00:00:00Z' } };
const waiting = (reason: string): ContainerState => ({ waiting: { reason } });
const ended = (exitCode: number): ContainerState => ({ terminated: { exitCode } });

function view(states: Record<string, Partial<ContainerView>>): PodView {
  const containers = Object.entries(states).map(([name, given]): [string, ContainerView] => [
    name,
    { state: {}, restartCount: 0, started: true, ready: given.state?.running !== undefined, ...given },
  ]);
  return {
    containers: new Map(containers),
    podIps: ['10.244.1.2'],
    hostIps: ['172.30.0.10'],
    startTime: '2024-01-01T00:00:00Z',
    sandboxReady: true,
  };
}

function named(names: string[]) {
  return names.map((name) => ({ name, image: 'busybox' }));
}

function pod(restartPolicy: string, containers: string[], initContainers: string[] = []): Pod {
  return { spec: { restartPolicy, containers: named(containers), initContainers: named(initContainers) } };
}

describe('podPhase', () => {
  test.each<[string, Pod, PodView, string]>([
    ['nothing begun', pod('Always', ['a']), view({ a: { state: waiting('ContainerCreating') } }), 'Pending'],
    ['running', pod('Always', ['a']), view({ a: { state: RUNNING } }), 'Running'],
    ['one of two begun', pod('Always', ['a', 'b']), view({ a: { state: RUNNING }, b: {} }), 'Pending'],
    [
      'crash loop',
      pod('Always', ['a']),
      view({ a: { state: waiting('CrashLoopBackOff'), lastState: ended(1) } }),
      'Running',
    ],
    ['completed', pod('OnFailure', ['a']), view({ a: { state: ended(0) } }), 'Succeeded'],
    ['will be restarted', pod('OnFailure', ['a']), view({ a: { state: ended(1) } }), 'Running'],
    [
      'failed for good',
      pod('Never', ['a', 'b']),
      view({ a: { state: ended(1) }, b: { state: ended(0) } }),
      'Failed',
    ],
    [
      'one still runs',
      pod('Never', ['a', 'b']),
      view({ a: { state: ended(1) }, b: { state: RUNNING } }),
      'Running',
    ],
    ['initializing', pod('Always', ['a'], ['i']), view({ i: { state: RUNNING } }), 'Pending'],
    ['init failed for good', pod('Never', ['a'], ['i']), view({ i: { state: ended(1) } }), 'Failed'],
    ['init is tried again', pod('Always', ['a'], ['i']), view({ i: { state: ended(1) } }), 'Pending'],
  ])('%s', (_, object, given, expected) => {
    expect(podPhase(object, given)).toBe(expected);
  });
});

function typed(object: Pod, given: PodView, type: string, now = '2024-01-02T00:00:00Z') {
  return podStatus(object, given, now).conditions?.find((condition) => condition.type === type);
}

describe('podStatus', () => {
  const ready = view({ a: { state: RUNNING } });

  test('is Ready when all containers are and every readiness gate is open', () => {
    expect(typed(pod('Always', ['a']), ready, 'Ready')).toMatchObject({ status: 'True' });
    const gated: Pod = { spec: { containers: [{ name: 'a' }], readinessGates: [{ conditionType: 'x/y' }] } };
    expect(typed(gated, ready, 'Ready')).toMatchObject({ status: 'False', reason: 'ReadinessGatesNotReady' });
    const open: Pod = { ...gated, status: { conditions: [{ type: 'x/y', status: 'True' }] } };
    expect(typed(open, ready, 'Ready')).toMatchObject({ status: 'True' });
    const half = view({ a: { state: RUNNING }, b: { state: RUNNING, ready: false } });
    expect(typed(pod('Always', ['a', 'b']), half, 'Ready')?.message).toBe(
      'containers with unready status: [b]',
    );
  });

  test('the time of a transition changes only with the status', () => {
    const old = { type: 'Ready', status: 'True', lastTransitionTime: '2024-01-01T00:00:00Z' };
    const object: Pod = { ...pod('Always', ['a']), status: { conditions: [old] } };
    expect(typed(object, ready, 'Ready')?.lastTransitionTime).toBe('2024-01-01T00:00:00Z');
    const unready = view({ a: { state: RUNNING, ready: false } });
    expect(typed(object, unready, 'Ready')?.lastTransitionTime).toBe('2024-01-02T00:00:00Z');
  });

  test("conditions of others and both families' addresses are kept", () => {
    const scheduled = { type: 'PodScheduled', status: 'True' };
    const object: Pod = { ...pod('Always', ['a']), status: { conditions: [scheduled] } };
    const status = podStatus(object, { ...ready, podIps: ['10.0.0.1', 'fd00::1'] }, 'now');
    expect(status.conditions).toContainEqual(scheduled);
    expect([status.podIP, status.podIPs]).toEqual(['10.0.0.1', [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }]]);
  });
});

test.each([
  ['the pod', [], 'ContainerCreating'],
  ['the init containers', ['i'], 'PodInitializing'],
])('a container for which nothing has been done waits for %s', (_, initContainers, reason) => {
  const status = podStatus(pod('Always', ['a'], initContainers), view({}), 'now');
  expect(status.containerStatuses?.map(({ state }) => state?.waiting?.reason)).toEqual([reason]);
});

describe('a pod with a sidecar', () => {
  const spec = {
    restartPolicy: 'Never',
    initContainers: [{ name: 's', image: 'busybox', restartPolicy: 'Always' }],
    containers: named(['a']),
  };
  test.each<[string, Record<string, Partial<ContainerView>>, string]>([
    ['that has not begun', {}, 'Pending'],
    ['that runs beside it', { s: { state: RUNNING }, a: { state: RUNNING } }, 'Running'],
    ['that outlives its containers', { s: { state: RUNNING }, a: { state: ended(0) } }, 'Running'],
    ['that was killed at its end', { s: { state: ended(137) }, a: { state: ended(0) } }, 'Succeeded'],
    ['and a container that failed', { s: { state: ended(0) }, a: { state: ended(1) } }, 'Failed'],
  ])('%s: %j is %s', (_, states, phase) => {
    expect(podPhase({ spec }, view(states))).toBe(phase);
  });

  test('is Initialized while the sidecar runs', () => {
    const states = view({ s: { state: RUNNING }, a: { state: RUNNING } });
    const conditions = podStatus({ spec }, states, 'now').conditions ?? [];
    expect(conditions.find(({ type }) => type === 'Initialized')?.status).toBe('True');
  });
});
