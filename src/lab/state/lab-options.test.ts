import { expect, test } from 'vitest';
import { fabricNetns, isNetnsOf, nodeNetns } from './lab-name.ts';
import { checkLabOptions, DEFAULT_LAB_OPTIONS, type LabOptions } from './lab-options.ts';

test.each<[Partial<LabOptions>, RegExp]>([
  [{ name: 'Lab_1' }, /"Lab_1" is not a name for a lab/],
  [{ nodes: 0 }, /--nodes 0 cannot be used/],
  [{ nodes: 2.5 }, /--nodes 2\.5/],
  [{ mtu: 100 }, /--mtu 100/],
  [{ apiPort: 70_000 }, /--api-port 70000/],
  [{ podCidr: '10.244.0.0' }, /--pod-cidr 10\.244\.0\.0 cannot be used/],
  [{ podCidr: '10.244.0.7/16' }, /--pod-cidr 10\.244\.0\.7\/16/],
  [{ podCidr: 'fd00::/56' }, /--pod-cidr fd00::\/56/],
  [{ podCidr: '10.96.0.0/12' }, /--pod-cidr 10\.96\.0\.0\/12 overlaps --service-cidr 10\.96\.0\.0\/16/],
  [{ serviceCidr: '172.30.0.0/24' }, /--service-cidr .* overlaps the underlay 172\.30\.0\.0\/16/],
  [{ podCidr: '10.1.0.0/23', nodes: 3 }, /--pod-cidr 10\.1\.0\.0\/23 cannot be used/],
  [{ nodes: 201 }, /--nodes 201/],
  [{ ipv6: true, podCidrV6: 'fd00:172:30::/56' }, /--pod-cidr-v6 .* overlaps the underlay/],
])('%j is refused', (given, expected) => {
  expect(() => checkLabOptions({ ...DEFAULT_LAB_OPTIONS, ...given })).toThrow(expected);
});

test('the defaults and a large lab are accepted', () => {
  expect(checkLabOptions(DEFAULT_LAB_OPTIONS)).toBe(DEFAULT_LAB_OPTIONS);
  expect(() => checkLabOptions({ ...DEFAULT_LAB_OPTIONS, nodes: 250, subnets: 2, ipv6: true })).not.toThrow();
});

test('no lab owns a namespace of another one, whatever they are called', () => {
  expect(isNetnsOf('a', nodeNetns('a', 'node-1'))).toBe(true);
  expect(isNetnsOf('a', fabricNetns('a'))).toBe(true);
  expect(isNetnsOf('a', fabricNetns('a-node-1'))).toBe(false);
  expect(isNetnsOf('a', nodeNetns('a-b', 'node-1'))).toBe(false);
});
