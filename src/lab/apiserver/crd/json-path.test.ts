import { expect, test } from 'vitest';
import { compileJsonPath } from './json-path.ts';

const OBJECT = {
  spec: { size: 'big', list: [1, 2], 'a.b': 'dotted' },
  metadata: { annotations: { 'x.io/y': 'z' } },
  status: {
    conditions: [
      { type: 'Ready', status: 'True' },
      { type: 'Other', status: 'False' },
    ],
  },
};

test.each([
  ['.spec.size', ['big']],
  ['{.spec.size}', ['big']],
  ['.spec.list[1]', [2]],
  ['.spec.list[*]', [1, 2]],
  [String.raw`.metadata.annotations.x\.io/y`, ['z']],
  [".spec['a.b']", ['dotted']],
  ['.status.conditions[?(@.type=="Ready")].status', ['True']],
  [".status.conditions[?(@.type!='Ready')].status", ['False']],
  ['.status.conditions[*].type', ['Ready', 'Other']],
  ['.missing.deep', []],
])('%s', (path, expected) => {
  expect(compileJsonPath(path)?.(OBJECT)).toEqual(expected);
});

test('a path that is not understood is none', () => {
  expect(compileJsonPath('.spec..size')).toBeUndefined();
});
