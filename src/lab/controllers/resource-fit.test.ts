import type { Container, Node, Pod } from 'kubernetes-types/core/v1.js';
import { expect, test } from 'vitest';
import { missingResources, podRequests } from './resource-fit.ts';
import { choose } from './scheduler.ts';

const asks = (requests: Record<string, string>, extra: Partial<Container> = {}): Container => ({
  name: 'c',
  resources: { requests },
  ...extra,
});
const node = (name: string): Node => ({
  metadata: { name },
  status: {
    conditions: [{ type: 'Ready', status: 'True' }],
    allocatable: { cpu: '2', memory: '1Gi', pods: '110' },
  },
});

test('a pod asks for what its containers ask for together', () => {
  const spec = { containers: [asks({ cpu: '100m', memory: '1Mi' }), asks({ cpu: '1.5' })] };
  expect(Object.fromEntries(podRequests(spec))).toEqual({ cpu: 1.6, memory: 2 ** 20 });
});

test('init containers run one after the other, beside the sidecars begun before them', () => {
  const initContainers = [
    asks({ cpu: '3' }),
    asks({ cpu: '1' }, { restartPolicy: 'Always' }),
    asks({ cpu: '2500m' }),
  ];
  const requests = podRequests({ initContainers, containers: [asks({ cpu: '1' })] });
  expect(requests.get('cpu')).toBeCloseTo(3.5);
});

test('a limit without a request is a request, as in the API', () => {
  const spec = { containers: [{ name: 'c', resources: { limits: { cpu: '3' } } }] };
  expect(missingResources(spec, node('n'), [])).toEqual(['Insufficient cpu']);
});

test('what other pods ask for counts; what nobody has is insufficient', () => {
  const other: Pod = { spec: { containers: [asks({ cpu: '1500m' })] } };
  const spec = { containers: [asks({ cpu: '600m', memory: '1Mi', 'example.com/gpu': '1' })] };
  expect(missingResources(spec, node('n'), [other])).toEqual([
    'Insufficient cpu',
    'Insufficient example.com/gpu',
  ]);
  expect(missingResources({ containers: [asks({ cpu: '500m' })] }, node('n'), [other])).toEqual([]);
});

test('a pod too big for every node waits, with a reason for each resource', () => {
  const pod: Pod = { spec: { containers: [asks({ cpu: '99', memory: '900Gi' })] } };
  expect(choose(pod, [node('a'), node('b')], () => [])).toEqual({
    why: '0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient memory.',
  });
});
