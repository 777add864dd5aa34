import { describe, expect, test } from 'vitest';
import { FakeRouteKernel } from '../kernel/netlink/fake.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip, type IpFamily } from '../net/ip.ts';
import { Mac } from '../net/mac.ts';
import { networkSchema } from './network-config.ts';
import { describeLocalNode, readNodeFacts, type LocalNodeWish } from './underlay.ts';

/** eth0 172.30.0.1/24 with the default route, eth1 10.20.0.1/16 and fd00:20::1/64 with jumbo frames. */
function machine(): FakeRouteKernel {
  const kernel = new FakeRouteKernel();
  const device = (name: string, mtu: number, ...addresses: string[]): number => {
    const link = kernel.addLink({ kind: 'dummy', name, mtu, up: true })?.index ?? 0;
    for (const text of addresses) {
      const [ip = '', length] = text.split('/');
      kernel.addAddress({ link, ip: Ip.parse(ip), prefixLength: Number(length), noDad: true });
    }
    return link;
  };
  const eth0 = device('eth0', 1500, '172.30.0.1/24');
  device('eth1', 9000, '10.20.0.1/16', 'fd00:20::1/64');
  kernel.addRoute({ destination: Cidr.parse('0.0.0.0/0'), gateway: Ip.parse('172.30.0.254'), link: eth0 });
  return kernel;
}

const config = (backend: object = {}) =>
  networkSchema.parse({ Network: '10.244.0.0/16', Backend: { Type: 'vxlan', ...backend } });

const wish = (changes: Partial<LocalNodeWish> = {}): LocalNodeWish => ({
  name: 'node-1',
  config: config(),
  podCidrs: new Map<IpFamily, Cidr>([[4, Cidr.parse('10.244.1.0/24')]]),
  internalIps: [],
  iface: undefined,
  macs: new Map(),
  ...changes,
});

const described = (changes: Partial<LocalNodeWish>) => {
  const { underlay, families } = describeLocalNode(readNodeFacts(machine()), wish(changes));
  return `${underlay.device} ${underlay.mtu} ${[...families.values()].map(({ ip }) => ip.toString()).join()}`;
};

describe('the interface that carries the cluster', () => {
  test.each<[string, Partial<LocalNodeWish>, string]>([
    ['the default route without better knowledge', {}, 'eth0 1500 172.30.0.1'],
    ['the InternalIP', { internalIps: [Ip.parse('10.20.0.1')] }, 'eth1 9000 10.20.0.1'],
    [
      'the default route when the InternalIP is nowhere',
      { internalIps: [Ip.parse('203.0.113.7')] },
      'eth0 1500 172.30.0.1',
    ],
    [
      'a name, against the InternalIP',
      { iface: 'eth1', internalIps: [Ip.parse('172.30.0.1')] },
      'eth1 9000 10.20.0.1',
    ],
    ['an address', { iface: '10.20.0.1' }, 'eth1 9000 10.20.0.1'],
    [
      'a smaller MTU than the interface has',
      { iface: 'eth1', config: config({ MTU: 1500 }) },
      'eth1 1500 10.20.0.1',
    ],
  ])('is found by %s', (_, changes, expected) => {
    expect(described(changes)).toBe(expected);
  });

  test.each<[string, Partial<LocalNodeWish>, string]>([
    ['an unknown name', { iface: 'eth7' }, 'iface "eth7": no interface has this name or address'],
    [
      'a family it lacks',
      { podCidrs: new Map([[6, Cidr.parse('fd00:10:244:1::/64')]]) },
      'node node-1: interface eth0 has no IPv6 address',
    ],
    [
      'an MTU that does not fit',
      { config: config({ MTU: 9000 }) },
      'network.Backend.MTU 9000 is larger than the 1500 bytes of eth0',
    ],
    [
      'a pod CIDR that the underlay uses',
      { podCidrs: new Map([[4, Cidr.parse('172.30.0.0/25')]]) },
      'pod CIDR 172.30.0.0/25 overlaps 172.30.0.0/24, which eth0',
    ],
  ])('%s is refused', (_, changes, message) => {
    expect(() => described(changes)).toThrow(message);
  });
});

test('what is reached directly, and the MAC, which stays the same from start to start', () => {
  const facts = readNodeFacts(machine());
  const first = describeLocalNode(facts, wish());
  expect(first.underlay.onLink.map(String)).toEqual(['172.30.0.0/24']);
  const derived = first.families.get(4)?.vtepMac.toString();
  expect(describeLocalNode(facts, wish()).families.get(4)?.vtepMac.toString()).toBe(derived);
  expect(
    describeLocalNode(facts, wish({ name: 'node-2' }))
      .families.get(4)
      ?.vtepMac.toString(),
  ).not.toBe(derived);
  const published = new Map<IpFamily, Mac>([[4, Mac.parse('02:00:00:00:00:09')]]);
  expect(
    describeLocalNode(facts, wish({ macs: published }))
      .families.get(4)
      ?.vtepMac.toString(),
  ).toBe('02:00:00:00:00:09');
});
