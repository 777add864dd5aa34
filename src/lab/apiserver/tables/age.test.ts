import { expect, test } from 'vitest';
import { age, humanDuration } from './age.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

test.each([
  [-5 * SECOND, '<invalid>'],
  [-1 * SECOND, '0s'],
  [0, '0s'],
  [119 * SECOND, '119s'],
  [120 * SECOND, '2m'],
  [125 * SECOND, '2m5s'],
  [10 * MINUTE + 5 * SECOND, '10m'],
  [179 * MINUTE, '179m'],
  [3 * HOUR, '3h'],
  [3 * HOUR + 5 * MINUTE, '3h5m'],
  [47 * HOUR, '47h'],
  [48 * HOUR, '2d'],
  [49 * HOUR, '2d1h'],
  [9 * DAY, '9d'],
  [729 * DAY, '729d'],
  [731 * DAY, '2y1d'],
  [9 * 365 * DAY, '9y'],
])('%i ms is %s', (ms, text) => {
  expect(humanDuration(ms)).toBe(text);
});

test('a timestamp that is missing or no time is said to be so', () => {
  expect(age(undefined, 0)).toBe('<unknown>');
  expect(age('yesterday', 0)).toBe('<invalid>');
  expect(age('1970-01-01T00:00:00Z', 5000)).toBe('5s');
});
