import { expect, test } from 'vitest';
import { compare, renderTable } from './comparison.ts';

test('medians, and the median of the ratios of each round', () => {
  const samples = { flatnet: [9, 4, 10], byHand: [10, 5, 10], byHandTracked: [9, 4, 20] };
  expect(compare('tcp1', samples)).toEqual({
    flatnet: 9,
    byHand: 10,
    ratio: 0.9,
    byHandTracked: 9,
    ratioTracked: 1,
  });
});

test('less latency is better', () => {
  expect(compare('latency', { flatnet: [20], byHand: [10] })).toEqual({
    flatnet: 20,
    byHand: 10,
    ratio: 0.5,
  });
});

test('a table of what was measured', () => {
  const tcp1 = compare('tcp1', { flatnet: [9], byHand: [10] });
  expect(
    renderTable([{ backend: 'ipip', machine: 'user-mode-linux', measures: { tcp1 } }]).split('\n'),
  ).toEqual([
    'BACKEND     MEASURED               FLATNET  BY HAND  RATIO  BY HAND, MASQUERADE  RATIO',
    'ipip (uml)  TCP, 1 stream, Gbit/s  9        10       0.9    -                    -',
  ]);
});
