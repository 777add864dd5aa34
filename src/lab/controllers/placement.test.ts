import type { Node, Pod, PodSpec, Taint, Toleration } from 'kubernetes-types/core/v1.js';
import { describe, expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { CidrPool } from './cidr-pool.ts';
import { misfit } from './node-fit.ts';
import { untilEviction } from './pod-eviction.ts';
import { rank } from './replica-sets.ts';
import { choose } from './scheduler.ts';

const node = (name: string, extra: Partial<Node> = {}): Node => ({
  metadata: { name, labels: { zone: 'a', cores: '8' } },
  status: { conditions: [{ type: 'Ready', status: 'True' }] },
  ...extra,
});
const spec = (extra: Partial<PodSpec> = {}): PodSpec => ({ containers: [], ...extra });
const owned = (uid: string, nodeName?: string): Pod => ({
  metadata: {
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: uid, uid, controller: true }],
  },
  spec: spec(nodeName === undefined ? {} : { nodeName }),
});

const onlyInFull = (name: string): Pod[] => (name === 'full' ? [owned('x', 'full')] : []);

describe('a pod fits on a node', () => {
  const gpu: Taint = { key: 'gpu', value: 'big', effect: 'NoSchedule' };
  const tainted = node('n', { spec: { taints: [gpu] } });
  test.each<[string, Toleration[], boolean]>([
    ['without toleration', [], false],
    [
      'that tolerates the value',
      [{ key: 'gpu', operator: 'Equal', value: 'big', effect: 'NoSchedule' }],
      true,
    ],
    ['that tolerates another value', [{ key: 'gpu', value: 'small' }], false],
    ['that tolerates the key', [{ key: 'gpu', operator: 'Exists' }], true],
    [
      'that tolerates the key for another effect',
      [{ key: 'gpu', operator: 'Exists', effect: 'NoExecute' }],
      false,
    ],
    ['that tolerates everything', [{ operator: 'Exists' }], true],
  ])('with a taint, %s: %s', (_, tolerations, fits) => {
    expect(misfit(spec(), tolerations, tainted) === undefined).toBe(fits);
  });

  test.each<[object, boolean]>([
    [{ key: 'zone', operator: 'In', values: ['a', 'b'] }, true],
    [{ key: 'zone', operator: 'NotIn', values: ['a'] }, false],
    [{ key: 'rack', operator: 'DoesNotExist' }, true],
    [{ key: 'rack', operator: 'Exists' }, false],
    [{ key: 'cores', operator: 'Gt', values: ['4'] }, true],
    [{ key: 'cores', operator: 'Lt', values: ['4'] }, false],
  ])('with the affinity %j: %s', (requirement, fits) => {
    const nodeSelectorTerms = [{ matchExpressions: [requirement as { key: string; operator: string }] }];
    const affinity = {
      nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } },
    };
    expect(misfit(spec({ affinity }), [], node('n')) === undefined).toBe(fits);
  });

  test('only when the node is ready, has room and is not cordoned; the reasons are counted', () => {
    const nodes = [
      node('sleeping', { status: { conditions: [{ type: 'Ready', status: 'False' }] } }),
      node('cordoned', { spec: { unschedulable: true } }),
      node('full', {
        status: { conditions: [{ type: 'Ready', status: 'True' }], allocatable: { pods: '1' } },
      }),
    ];
    expect(choose({ spec: spec() }, nodes, onlyInFull)).toEqual({
      why: '0/3 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 1 node(s) were unschedulable.',
    });
  });
});

test('siblings are kept apart before the nodes are filled evenly', () => {
  const on: Record<string, Pod[]> = {
    n1: [owned('web', 'n1')],
    n2: [owned('other', 'n2'), owned('other', 'n2')],
    n3: [owned('other', 'n3'), owned('other', 'n3'), owned('other', 'n3')],
  };
  const nodes = ['n1', 'n2', 'n3'].map((name) => node(name));
  expect(choose(owned('web'), nodes, (name) => on[name] ?? [])).toEqual({ node: 'n2' });
  expect(choose({ spec: spec() }, nodes, (name) => on[name] ?? [])).toEqual({ node: 'n1' });
});

const pod = (name: string, ready: boolean, nodeName: string | undefined, cost?: string): Pod => ({
  metadata: {
    name,
    creationTimestamp: '2026-01-01T00:00:00Z',
    ...(cost === undefined ? {} : { annotations: { 'controller.kubernetes.io/pod-deletion-cost': cost } }),
  },
  spec: spec(nodeName === undefined ? {} : { nodeName }),
  status: {
    phase: nodeName === undefined ? 'Pending' : 'Running',
    conditions: [
      { type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: '2026-01-01T00:00:10Z' },
    ],
  },
});

test('the pods that are missed least are given up first', () => {
  const pods = [
    pod('dear', true, 'n1', '10'),
    pod('alone', true, 'n2'),
    pod('crowded', true, 'n1'),
    pod('sick', false, 'n2'),
    pod('homeless', false, undefined),
  ];
  const crowd = (one: Pod): number =>
    pods.filter((other) => other.spec?.nodeName === one.spec?.nodeName).length;
  const crowding = (one: Pod): number => (one.metadata?.name === 'crowded' ? 3 : crowd(one));
  expect([...pods].sort((a, b) => rank(a, b, crowding)).map(({ metadata }) => metadata?.name)).toEqual([
    'homeless',
    'sick',
    'crowded',
    'alone',
    'dear',
  ]);
});

test('a pool gives every part once, takes them back and adopts what is there', () => {
  const pool = new CidrPool(Cidr.parse('10.0.0.0/22'), 24);
  pool.occupy(Cidr.parse('10.0.1.0/24'));
  pool.occupy(Cidr.parse('192.168.0.0/24'));
  const taken = [pool.take(), pool.take(), pool.take()].map(String);
  expect(taken).toEqual(['10.0.0.0/24', '10.0.2.0/24', '10.0.3.0/24']);
  expect(pool.take()).toBeUndefined();
  pool.release(Cidr.parse('10.0.2.0/24'));
  expect(String(pool.take())).toBe('10.0.2.0/24');
});

test('a pod stays beside a taint as long as it tolerates it', () => {
  const taint: Taint = {
    key: 'node.kubernetes.io/unreachable',
    effect: 'NoExecute',
    timeAdded: '2026-01-01T00:00:00Z',
  };
  const now = Date.parse('2026-01-01T00:01:00Z');
  const tolerating = (tolerationSeconds?: number): Pod => ({
    spec: spec({
      tolerations: [
        {
          key: taint.key,
          operator: 'Exists',
          ...(tolerationSeconds === undefined ? {} : { tolerationSeconds }),
        },
      ],
    }),
  });
  expect(untilEviction(tolerating(), [taint], now)).toBe(Infinity);
  expect(untilEviction(tolerating(90), [taint], now)).toBe(30_000);
  expect(untilEviction(tolerating(30), [taint], now)).toBeLessThanOrEqual(0);
  // Nothing said about dead nodes: five minutes.
  expect(untilEviction({ spec: spec() }, [taint], now)).toBe(240_000);
  expect(untilEviction({ spec: spec() }, [{ key: 'mine', effect: 'NoExecute' }], now)).toBe(0);
});
