import { expect, test } from 'vitest';
import type { Json } from '../json/json.ts';
import { applyJsonPatch } from './json-patch.ts';
import { mergePatch } from './merge-patch.ts';

test.each<[string, Json, Json, Json]>([
  ['add', { a: 1 }, [{ op: 'add', path: '/b', value: 2 }], { a: 1, b: 2 }],
  ['add to list', { a: [1, 3] }, [{ op: 'add', path: '/a/1', value: 2 }], { a: [1, 2, 3] }],
  ['append', { a: [1] }, [{ op: 'add', path: '/a/-', value: 2 }], { a: [1, 2] }],
  ['remove', { a: 1, b: 2 }, [{ op: 'remove', path: '/a' }], { b: 2 }],
  ['replace', { a: [1, 2] }, [{ op: 'replace', path: '/a/0', value: 9 }], { a: [9, 2] }],
  [
    'escaped',
    { 'x/y': 1, 'm~n': 2 },
    [
      { op: 'remove', path: '/x~1y' },
      { op: 'remove', path: '/m~0n' },
    ],
    {},
  ],
  ['move', { a: 1 }, [{ op: 'move', from: '/a', path: '/b' }], { b: 1 }],
  ['copy', { a: { c: 1 } }, [{ op: 'copy', from: '/a', path: '/b' }], { a: { c: 1 }, b: { c: 1 } }],
  ['test', { a: 1 }, [{ op: 'test', path: '/a', value: 1 }], { a: 1 }],
])('JSON patch: %s', (_, document, operations, expected) => {
  expect(applyJsonPatch(document, operations)).toEqual(expected);
});

test.each<[Json, string]>([
  [[{ op: 'remove', path: '/x' }], 'path "/x" does not exist'],
  [[{ op: 'test', path: '/a', value: 2 }], 'testing value /a failed'],
  [[{ op: 'add', path: '/l/7', value: 2 }], 'invalid array index: 7'],
  [[{ op: 'eat', path: '/a' }], 'unexpected kind'],
  [{ op: 'add' }, 'a JSON patch is a list'],
])('JSON patch %j is refused', (operations, message) => {
  expect(() => applyJsonPatch({ a: 1, l: [] }, operations)).toThrow(message);
});

test('copies that double the object again and again are refused', () => {
  const operations = Array.from({ length: 60 }, (_, i) => ({ op: 'copy', from: '', path: `/x${i}` }));
  expect(() => applyJsonPatch({ a: 'x'.repeat(100) }, operations)).toThrow(
    'copies of a JSON patch are limited',
  );
});

test('a merge patch merges objects, replaces lists and removes by null (examples of RFC 7396)', () => {
  expect(mergePatch({ a: 'b', c: { d: 'e', f: 'g' } }, { a: 'z', c: { f: null } })).toEqual({
    a: 'z',
    c: { d: 'e' },
  });
  expect(mergePatch({ a: [1, 2] }, { a: [3] })).toEqual({ a: [3] });
  expect(mergePatch({ e: null }, { a: 1 })).toEqual({ e: null, a: 1 });
  expect(mergePatch({}, { a: { bb: { ccc: null } } })).toEqual({ a: { bb: {} } });
});
