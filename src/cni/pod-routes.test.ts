import { describe, expect, test } from 'vitest';
import type { NewRoute } from '../kernel/netlink/objects.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { hostRoutes, podRoutes, resultRoutes, routedAddresses } from './pod-routes.ts';
import type { IpamRoute } from './protocol/ipam-config.ts';

const four = { ip: Ip.parse('10.1.0.5'), prefixLength: 24, gateway: Ip.parse('10.1.0.1') };
const six = { ip: Ip.parse('fd00::5'), prefixLength: 64, gateway: Ip.parse('fd00::1') };
const route = (dst: string, gw?: string): IpamRoute => ({
  dst: Cidr.parse(dst),
  gw: gw === undefined ? undefined : Ip.parse(gw),
  mtu: undefined,
  priority: undefined,
  table: undefined,
});
const words = ({ destination, gateway, source }: NewRoute): string =>
  [
    destination,
    ...(gateway === undefined ? [] : ['via', gateway]),
    ...(source === undefined ? [] : ['src', source]),
  ].join(' ');

describe('routes of a pod', () => {
  test('everything by way of the gateway of each family', () => {
    const routes = resultRoutes([four, six], undefined);
    expect(podRoutes(2, [four, six], routes).map(words)).toEqual([
      '10.1.0.1/32 src 10.1.0.5',
      'fd00::1/128',
      '0.0.0.0/0 via 10.1.0.1',
      '::/0 via fd00::1',
    ]);
  });

  test('those of the configuration instead; their gateways are on the link, too', () => {
    const routes = resultRoutes([four], [route('10.0.0.0/8'), route('192.0.2.0/24', '10.1.0.9')]);
    expect(podRoutes(2, [four], routes).map(words)).toEqual([
      '10.1.0.1/32 src 10.1.0.5',
      '10.1.0.9/32 src 10.1.0.5',
      '10.0.0.0/8 via 10.1.0.1',
      '192.0.2.0/24 via 10.1.0.9',
    ]);
  });

  test('two addresses of one family have one default route, by the first that has a gateway', () => {
    const lone = { ip: Ip.parse('10.2.0.5'), prefixLength: 24 };
    expect(
      resultRoutes([lone, four], undefined).map(({ dst, gw }) => `${dst.toString()} ${String(gw)}`),
    ).toEqual(['0.0.0.0/0 10.1.0.1']);
    expect(resultRoutes([lone], undefined)).toEqual([]);
  });

  test('a routed pod is alone on its link, and the node has a route to it', () => {
    const addresses = routedAddresses([four, six]);
    expect(
      addresses.map(({ ip, prefixLength, gateway }) => `${ip.toString()}/${prefixLength} ${String(gateway)}`),
    ).toEqual(['10.1.0.5/32 169.254.1.1', 'fd00::5/128 fe80::ecee:eeff:feee:eeee']);
    expect(hostRoutes(7, addresses).map(words)).toEqual(['10.1.0.5/32', 'fd00::5/128']);
  });
});
