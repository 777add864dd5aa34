import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { sameJson } from './same-json.ts';

const values = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(undefined, null, true, 0, 1, '', 'a'),
    fc.array(
      tie('value').map((value) => value ?? null),
      { maxLength: 3 },
    ),
    fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('value'), { maxKeys: 3, noNullPrototype: true }),
  ),
})).value;

const sent = (value: unknown): unknown =>
  value === undefined ? undefined : (JSON.parse(JSON.stringify(value)) as unknown);

test('agrees with a comparison of what would be sent', () => {
  fc.assert(
    fc.property(values, values, (a, b) => {
      expect(sameJson(a, b)).toBe(isDeepStrictEqual(sent(a), sent(b)));
      expect(sameJson(a, structuredClone(a))).toBe(true);
    }),
    { numRuns: 1000 },
  );
});
