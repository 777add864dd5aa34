import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { KubeObject } from '../json/kube-object.ts';
import type { StoreEvent } from './event-history.ts';
import { ObjectStore } from './object-store.ts';
import { RevisionCounter } from './revision-counter.ts';
import { parseStored } from './stored-object.ts';

function make(namespace: string, name: string): KubeObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name } };
}

test('a list in any order of writes is sorted, and a namespace is a part of it', () => {
  const names = fc.tuple(
    fc.constantFrom('a', 'a-b', 'b', 'ab'),
    fc.constantFrom('x', 'y', 'x-y', 'z0'),
    fc.boolean(),
  );
  fc.assert(
    fc.property(fc.array(names, { maxLength: 40 }), (writes) => {
      const store = new ObjectStore(new RevisionCounter(), () => ({}));
      const expected = new Set<string>();
      for (const [namespace, name, isDelete] of writes) {
        const key = `${namespace}/${name}`;
        if (!isDelete) store.put(make(namespace, name));
        else if (expected.has(key)) store.delete(key, make(namespace, name));
        if (isDelete) expected.delete(key);
        else expected.add(key);
      }
      const sorted = [...expected].sort();
      expect([...store.objects()].map((one) => one.key)).toEqual(sorted);
      for (const namespace of ['a', 'a-b', 'b', 'ab']) {
        const wanted = sorted.filter((key) => key.startsWith(`${namespace}/`));
        expect([...store.objects(namespace)].map((one) => one.key)).toEqual(wanted);
        const first = wanted[0] ?? `${namespace}/`;
        expect([...store.objects(namespace, first)].map((one) => one.key)).toEqual(wanted.slice(1));
      }
    }),
  );
});

test('events tell what happened, in order, and old ones are forgotten', () => {
  const store = new ObjectStore(new RevisionCounter(), () => ({}), { maxEvents: 3, maxCharacters: 1e6 });
  const seen: StoreEvent[] = [];
  const stop = store.subscribe((event) => seen.push(event));
  const first = store.put(make('n', 'a'));
  store.put(make('n', 'a'));
  store.delete('n/a', make('n', 'a'));
  stop();
  store.put(make('n', 'b'));
  expect(seen.map((event) => event.type)).toEqual(['ADDED', 'MODIFIED', 'DELETED']);
  expect(parseStored(first).metadata.resourceVersion).toBe(String(first.revision));
  expect(store.eventsSince(first.revision).map((event) => event.type)).toEqual([
    'MODIFIED',
    'DELETED',
    'ADDED',
  ]);
  expect(store.covers(first.revision)).toBe(true);
  store.put(make('n', 'c'));
  expect(store.covers(first.revision)).toBe(false);
});
