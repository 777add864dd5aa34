import { expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { renderMasquerade } from './ruleset.ts';

test("the ruleset makes flannel's decisions in flannel's order", () => {
  const range = { podCidr: Cidr.parse('10.244.1.0/24'), network: Cidr.parse('10.244.0.0/16') };
  const text = renderMasquerade([range], 14);
  const decisions = text
    .split('\n')
    .filter((line) => /return|masquerade fully/.test(line))
    .map((line) => line.trim().replace(/ comment ".*"/, ''));
  expect(decisions).toEqual([
    'meta mark & 0x4000 == 0x4000 return',
    'ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return',
    'ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return',
    'ip saddr != 10.244.1.0/24 ip daddr 10.244.1.0/24 return',
    'ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random',
    'ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random',
  ]);
});

test('IPv6 has its own multicast range', () => {
  const range = { podCidr: Cidr.parse('fd00:1::/64'), network: Cidr.parse('fd00::/48') };
  const text = renderMasquerade([range], 31);
  expect(text).toContain('meta mark & 0x80000000 == 0x80000000 return');
  expect(text).toContain('ip6 saddr fd00::/48 ip6 daddr != ff00::/8 masquerade fully-random');
});
