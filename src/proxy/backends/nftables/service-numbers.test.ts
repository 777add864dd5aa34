import { expect, test } from 'vitest';
import { ServiceNumbers } from './service-numbers.ts';

test('numbers that are taken are not given out, and those between them are', () => {
  const numbers = new ServiceNumbers();
  numbers.reset(new Set([2, 4]));
  expect([numbers.take(), numbers.take(), numbers.take()]).toEqual([1, 3, 5]);
});

test('one that is given back is not given out again in the same update', () => {
  const numbers = new ServiceNumbers();
  const first = numbers.take();
  numbers.giveBack(first);
  expect(numbers.take()).not.toBe(first);
  numbers.settle();
  expect(numbers.take()).toBe(first);
});
