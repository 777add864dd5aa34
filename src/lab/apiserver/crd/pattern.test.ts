import { expect, test } from 'vitest';
import { compilePattern } from './pattern.ts';

test('a pattern that backtracks without end answers all the same', () => {
  const pattern = compilePattern('^(a+)+$');
  const started = performance.now();
  expect(pattern?.test(`${'a'.repeat(5000)}!`)).toBe(false);
  expect(pattern?.test('a'.repeat(5000))).toBe(true);
  expect(performance.now() - started).toBeLessThan(2000);
});

test.each([
  [String.raw`^\d+$`, '42', true],
  [String.raw`^[\w-.]+$`, 'a-b.c', true],
  [String.raw`^\p{Lu}`, 'Éa', true],
  [String.raw`^\p{Lu}`, 'éa', false],
  ['^ü$', 'ü', true],
])('%s and %s: %s', (pattern, text, matches) => {
  expect(compilePattern(pattern)?.test(text)).toBe(matches);
});

test('what is no expression here restricts nothing', () => {
  expect(compilePattern('(?<x')).toBeUndefined();
});
