import { expect, test } from 'vitest';
import { builtInSchema } from '../schema/built-in-schemas.ts';
import { strategicMerge } from './strategic-merge.ts';

const POD = builtInSchema('', 'v1', 'Pod');
const DEPLOYMENT = builtInSchema('apps', 'v1', 'Deployment');

test('containers merge by name, their ports by containerPort, their environment by name', () => {
  const pod = {
    spec: {
      containers: [
        { name: 'a', image: 'x', ports: [{ containerPort: 80 }], env: [{ name: 'A', value: '1' }] },
        { name: 'b', image: 'y' },
      ],
    },
  };
  const patch = {
    spec: {
      containers: [
        {
          name: 'a',
          ports: [{ containerPort: 80, name: 'web' }, { containerPort: 81 }],
          env: [{ name: 'A', $patch: 'delete' }],
        },
        { name: 'c', image: 'z' },
      ],
    },
  };
  expect(strategicMerge(pod, patch, POD)).toEqual({
    spec: {
      containers: [
        {
          name: 'a',
          image: 'x',
          ports: [{ containerPort: 80, name: 'web' }, { containerPort: 81 }],
          env: [],
        },
        { name: 'b', image: 'y' },
        { name: 'c', image: 'z' },
      ],
    },
  });
});

test('$setElementOrder orders, $deleteFromPrimitiveList removes, null deletes, lists without key are replaced', () => {
  const pod = {
    metadata: { finalizers: ['x/a', 'x/b'], labels: { a: '1', b: '2' } },
    spec: { containers: [{ name: 'a', args: ['1'] }, { name: 'b' }] },
  };
  const patch = {
    metadata: { '$deleteFromPrimitiveList/finalizers': ['x/a'], finalizers: ['x/c'], labels: { a: null } },
    spec: {
      '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }],
      containers: [{ name: 'a', args: ['2', '3'] }],
    },
  };
  expect(strategicMerge(pod, patch, POD)).toEqual({
    metadata: { finalizers: ['x/b', 'x/c'], labels: { b: '2' } },
    spec: { containers: [{ name: 'b' }, { name: 'a', args: ['2', '3'] }] },
  });
});

test('$retainKeys changes the kind of a strategy, $patch: replace a whole object', () => {
  const deployment = {
    spec: { strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } }, template: { a: 1 } },
  };
  const patch = {
    spec: { strategy: { $retainKeys: ['type'], type: 'Recreate' }, template: { $patch: 'replace', b: 2 } },
  };
  expect(strategicMerge(deployment, patch, DEPLOYMENT)).toEqual({
    spec: { strategy: { type: 'Recreate' }, template: { b: 2 } },
  });
});

test('an element without its merge key is refused', () => {
  expect(() => strategicMerge({}, { spec: { containers: [{ image: 'x' }] } }, POD)).toThrow(
    'merge key: name',
  );
});
