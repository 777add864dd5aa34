import fc from 'fast-check';
import { expect, test } from 'vitest';
import { assignNumbers } from './assignment.ts';

const endpoints = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'), {
  maxLength: 8,
});

test('every endpoint has one number, and as few as possible change', () => {
  fc.assert(
    fc.property(endpoints, endpoints, (previous, wanted) => {
      const numbers = assignNumbers(previous, wanted);
      expect([...numbers].sort()).toEqual([...wanted].sort());
      // At best, an endpoint that stays keeps its number whenever that number still exists.
      const changed = numbers.filter((endpoint, number) => previous[number] !== endpoint).length;
      const keepable = previous
        .slice(0, wanted.length)
        .filter((endpoint) => wanted.includes(endpoint)).length;
      expect(changed).toBe(wanted.length - keepable);
    }),
  );
});

test.each([
  ['abc', 'abc', 'abc'],
  ['abc', 'abcd', 'abcd'],
  ['abc', 'bc', 'cb'],
  ['abc', 'xbc', 'xbc'],
  ['', 'ab', 'ab'],
  ['ab', '', ''],
])('%s wanting %s becomes %s', (previous, wanted, numbers) => {
  expect(assignNumbers(previous.split(''), wanted.split('')).join('')).toBe(numbers);
});
