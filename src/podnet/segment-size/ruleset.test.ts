import { expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { renderSegmentSize } from './ruleset.ts';

const rule = (match: string) => `${match} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`;

test('every connection request from and to pods, in each family', () => {
  const text = renderSegmentSize([Cidr.parse('10.244.0.0/16'), Cidr.parse('fd00:10:244::/56')]);
  expect(text.split('\n').map((line) => line.trim())).toEqual(
    expect.arrayContaining([
      rule('ip saddr 10.244.0.0/16'),
      rule('ip daddr 10.244.0.0/16'),
      rule('ip6 saddr fd00:10:244::/56'),
      rule('ip6 daddr fd00:10:244::/56'),
    ]),
  );
});

test('without networks the table goes', () => {
  expect(renderSegmentSize([])).toBe('add table inet flatnet-mss\ndelete table inet flatnet-mss\n');
});
