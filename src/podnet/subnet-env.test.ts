import { expect, test } from 'vitest';
import { Cidr } from '../net/cidr.ts';
import type { IpFamily } from '../net/ip.ts';
import { parseSubnetEnv, renderSubnetEnv } from './subnet-env.ts';

const map = (...cidrs: string[]): Map<IpFamily, Cidr> =>
  new Map(cidrs.map((text) => [Cidr.parse(text).family, Cidr.parse(text)]));

test("subnet.env is written in flannel's order", () => {
  expect(renderSubnetEnv({ networks: map('10.244.0.0/16') }, map('10.244.3.0/24'), 1450, true)).toBe(
    'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n',
  );
  const dual = renderSubnetEnv(
    { networks: map('10.244.0.0/16', 'fd00:10:244::/56') },
    map('10.244.3.0/24', 'fd00:10:244:3::/64'),
    1430,
    false,
  );
  expect(dual.split('\n').slice(2)).toEqual([
    'FLANNEL_IPV6_NETWORK=fd00:10:244::/56',
    'FLANNEL_IPV6_SUBNET=fd00:10:244:3::1/64',
    'FLANNEL_MTU=1430',
    'FLANNEL_IPMASQ=false',
    '',
  ]);
});

test('what was written is read again, but only for the same cluster', () => {
  const networks = map('10.244.0.0/16', 'fd00:10:244::/56');
  const podCidrs = map('10.244.3.0/24', 'fd00:10:244:3::/64');
  const text = renderSubnetEnv({ networks }, podCidrs, 1430, true);
  expect(parseSubnetEnv(text, { networks })).toEqual({ podCidrs, mtu: 1430 });
  expect(parseSubnetEnv(text, { networks: map('10.0.0.0/8') })).toBeUndefined();
  expect(parseSubnetEnv(text.replace('FLANNEL_MTU=1430', ''), { networks })).toBeUndefined();
  expect(parseSubnetEnv('', { networks })).toBeUndefined();
});
