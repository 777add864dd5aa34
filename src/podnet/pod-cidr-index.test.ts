import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Cidr } from '../net/cidr.ts';
import { PodCidrIndex } from './pod-cidr-index.ts';

const cidr = fc
  .tuple(fc.nat(3), fc.constantFrom(22, 23, 24, 25))
  .map(([third, length]) => Cidr.parse(`10.244.${third}.0/${length}`));
const change = fc.tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.option(cidr));

test('finds what a look at every pair finds, whoever comes, changes and goes', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      const index = new PodCidrIndex();
      const all = new Map<string, Cidr>();
      for (const [node, range] of changes) {
        if (range === null) {
          index.delete(node);
          all.delete(node);
        } else {
          index.set(node, [range]);
          all.set(node, range);
        }
        for (const [name, own] of all) {
          const slow = [...all].filter(
            ([other, theirs]) => other !== name && theirs.overlaps(own) && !theirs.equals(own),
          );
          const found = index.overlapsOf(name).map((overlap) => overlap.node);
          expect(found.toSorted()).toEqual(slow.map(([other]) => other).toSorted());
        }
      }
    }),
    { numRuns: 200 },
  );
});
