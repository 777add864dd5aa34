import { describe, expect, test } from 'vitest';
import { limitOf } from './limit.ts';

describe('a bandwidth limit', () => {
  test('is what the bandwidth plugin makes of rate and burst in bits', () => {
    expect(limitOf('ingress', 8_000_000, 1_600_000, 1450)).toEqual({
      bytesPerSecond: 1_000_000,
      burstBytes: 200_000,
      limitBytes: 225_000,
    });
  });

  test.each([0, 2 ** 31 - 1, 2 ** 32 - 1])('has a burst of its own where the runtime says %d', (burst) => {
    expect(limitOf('ingress', 10_000_000, burst, 1450)?.burstBytes).toBe(65_536);
    expect(limitOf('ingress', 1_000_000_000, burst, 1450)?.burstBytes).toBe(2_500_000);
  });

  test('lets the largest packet of the device through', () => {
    expect(limitOf('egress', 8000, 8, 1450)?.burstBytes).toBe(1472);
  });

  test('is none where no rate is given', () => {
    expect(limitOf('egress', 0, 0, 1450)).toBeUndefined();
    expect(limitOf('egress', 0, 2 ** 32 - 1, 1450)).toBeUndefined();
  });

  test.each([
    [0, 1000, 'egressBurst 1000 without egressRate'],
    [7, 0, 'egressRate 7 is less than one byte a second'],
  ])('of rate %d and burst %d is an error that names the field', (rate, burst, words) => {
    expect(() => limitOf('egress', rate, burst, 1450)).toThrow(words);
  });
});
