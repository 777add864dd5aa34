import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatDuration, parseDuration } from './duration.ts';

describe('durations as Go writes them', () => {
  test.each([
    ['0', 0],
    ['0s', 0],
    ['30s', 30_000],
    ['24h0m0s', 86_400_000],
    ['1h15m30.918273645s', 4_530_918.273645],
    ['250ms', 250],
    ['.5s', 500],
    ['1.s', 1000],
    ['5us', 0.005],
    ['5µs', 0.005],
    ['7ns', 0.000007],
    ['-1m', -60_000],
    ['+1m', 60_000],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBeCloseTo(ms, 6);
  });

  test.each(['', '5', '-', '.', 's', '1d', '1 s', '1s ', '1h-1m', '1e3s', '300000000h', '1s2'])(
    '%j is none',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );

  test('what is printed reads as it was', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e12, max: 1e12 }), (ms) => {
        expect(parseDuration(formatDuration(ms))).toBe(ms);
      }),
    );
  });

  test.each([
    [0, '0s'],
    [250, '250ms'],
    [1500, '1.5s'],
    [60_000, '1m0s'],
    [86_400_000, '24h0m0s'],
    [0.5, '500µs'],
  ])('%d ms is printed as Go prints it', (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});
