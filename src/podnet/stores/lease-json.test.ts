import { expect, test } from 'vitest';
import { parseLeaseJson } from './lease-json.ts';

const nested = (levels: number): string => '['.repeat(levels) + ']'.repeat(levels);

test('what backends write is read', () => {
  expect(parseLeaseJson('{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}')).toEqual({
    VNI: 1,
    VtepMAC: '02:00:00:00:00:01',
  });
  expect(parseLeaseJson('null')).toBeNull();
  expect(parseLeaseJson(nested(32))).toBeInstanceOf(Array);
});

test.each([
  ['{', 'not JSON'],
  [nested(100_000), 'JSON of more than 32 levels'],
  [`${'{"a":'.repeat(40_000)}1${'}'.repeat(40_000)}`, 'JSON of more than 32 levels'],
])('what nobody could walk through is refused', (text, message) => {
  expect(() => parseLeaseJson(text)).toThrow(message);
});
