import { describe, expect, test } from 'vitest';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { isOfRange, subnetCount, subnetRange, type SubnetRange } from './subnet-range.ts';

const range = (network: string, length?: number, min?: string, max?: string): SubnetRange =>
  subnetRange(Cidr.parse(network), {
    length,
    min: min === undefined ? undefined : Ip.parse(min),
    max: max === undefined ? undefined : Ip.parse(max),
  });

const text = ({ prefixLength, first, last }: SubnetRange): string =>
  `${first.toString()}..${last.toString()} /${prefixLength}`;

describe("flannel's rules", () => {
  test.each<[SubnetRange, string]>([
    [range('10.244.0.0/16'), '10.244.1.0..10.244.255.0 /24'],
    [range('10.3.0.0/22'), '10.3.1.0..10.3.3.0 /24'],
    [range('10.3.1.0/24'), '10.3.1.64..10.3.1.192 /26'],
    [range('10.3.1.0/28'), '10.3.1.4..10.3.1.12 /30'],
    [range('10.0.0.0/8', 20, '10.10.0.0', '10.99.0.0'), '10.10.0.0..10.99.0.0 /20'],
    [range('10.3.0.0/16', 28, '10.3.5.0'), '10.3.5.0..10.3.255.240 /28'],
    [range('10.244.0.0/16', 0, '0.0.0.0'), '10.244.1.0..10.244.255.0 /24'],
    [range('fc00::/48'), 'fc00:0:0:1::..fc00:0:0:ffff:: /64'],
    [range('fc00::/63'), 'fc00::8000:0:0:0..fc00:0:0:1:8000:: /65'],
    [range('fc00::/124'), 'fc00::4..fc00::c /126'],
    [range('fc00::/48', 80, 'fc00:0:0:1::', 'fc00:0:0:f::'), 'fc00:0:0:1::..fc00:0:0:f:: /80'],
  ])('%#', (found, expected) => {
    expect(text(found)).toBe(expected);
  });

  test.each<[() => SubnetRange, string]>([
    [() => range('10.3.1.0/29'), 'Network 10.3.1.0/29 is too small'],
    [() => range('fc00::/125'), 'IPv6Network fc00::/125 is too small'],
    [() => range('10.3.0.0/16', 31), 'SubnetLen 31 leaves a node too few addresses'],
    [() => range('fc00::/48', 127), 'IPv6SubnetLen 127 leaves a node too few addresses'],
    [() => range('10.3.0.0/16', 17), 'SubnetLen 17 does not fit into Network 10.3.0.0/16 four times'],
    [() => range('10.3.0.0/16', 24, '10.4.0.0'), 'SubnetMin 10.4.0.0 is not within 10.3.0.0/16'],
    [() => range('10.3.0.0/16', 24, '10.3.5.1'), 'SubnetMin 10.3.5.1 is not the first address of a /24'],
    [() => range('10.3.0.0/16', 20, undefined, '10.3.5.0'), 'SubnetMax 10.3.5.0 is not the first address'],
    [() => range('10.3.0.0/16', 24, '10.3.9.0', '10.3.8.0'), 'SubnetMin 10.3.9.0 is behind SubnetMax'],
    [() => range('fc00::/48', 64, 'fc01::'), 'IPv6SubnetMin fc01:: is not within fc00::/48'],
  ])('refused by name: %#', (make, message) => {
    expect(make).toThrow(message);
  });
});

test('what a node may have', () => {
  const subnets = range('10.244.0.0/16', 24, '10.244.10.0', '10.244.12.0');
  expect(subnetCount(subnets)).toBe(3n);
  const may = (cidr: string): boolean => isOfRange(subnets, Cidr.parse(cidr));
  expect(
    [
      '10.244.10.0/24',
      '10.244.12.0/24',
      '10.244.9.0/24',
      '10.244.13.0/24',
      '10.244.10.0/25',
      'fc00::/64',
    ].map(may),
  ).toEqual([true, true, false, false, false, false]);
});
