import { describe, expect, test } from 'vitest';
import { FakeRouteKernel } from '../kernel/netlink/fake.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip, type IpFamily } from '../net/ip.ts';
import { Mac } from '../net/mac.ts';
import { networkSchema } from './network-config.ts';
import { chooseNodeAddress, NO_PREFERENCE } from './node-address.ts';
import { readNodeFacts } from './node-facts.ts';
import { describeLocalNode, excessiveMtu, type LocalNodeWish } from './underlay.ts';

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
  macs: new Map(),
  ...changes,
});

function describedBy(iface: string, changes: Partial<LocalNodeWish> = {}) {
  const facts = readNodeFacts(machine());
  const asked = wish(changes);
  const choice = chooseNodeAddress(facts, {
    node: asked.name,
    families: [...asked.podCidrs.keys()],
    prefer: { ...NO_PREFERENCE, iface: [iface] },
    internalIps: [],
    own: [],
  });
  return describeLocalNode(facts, choice, asked);
}

describe('the underlay', () => {
  test.each<[string, Partial<LocalNodeWish>, string]>([
    ['as the interface has it', {}, 'eth1 9000 10.20.0.1'],
    ['with a smaller MTU than the interface has', { config: config({ MTU: 1500 }) }, 'eth1 1500 10.20.0.1'],
    ['not with a larger one', { config: config({ MTU: 9216 }) }, 'eth1 9000 10.20.0.1'],
  ])('is taken %s', (_, changes, expected) => {
    const { underlay, families } = describedBy('eth1', changes);
    const ips = [...families.values()].map(({ ip }) => ip.toString()).join();
    expect(`${underlay.device} ${underlay.mtu} ${ips}`).toBe(expected);
  });

  test.each<[string, Partial<LocalNodeWish>, string]>([
    [
      'a pod CIDR that the underlay uses',
      { podCidrs: new Map([[4, Cidr.parse('172.30.0.0/25')]]) },
      'pod CIDR 172.30.0.0/25 overlaps 172.30.0.0/24, which eth0',
    ],
  ])('%s is refused', (_, changes, message) => {
    expect(() => describedBy('eth0', changes)).toThrow(message);
  });
});

test('what is reached directly, and the MAC, which stays the same from start to start', () => {
  const macOf = (changes: Partial<LocalNodeWish> = {}) =>
    describedBy('eth0', changes).families.get(4)?.vtepMac.toString();
  expect(describedBy('eth0').underlay.onLink.map(String)).toEqual(['172.30.0.0/24']);
  expect(macOf()).toBe(macOf());
  expect(macOf({ name: 'node-2' })).not.toBe(macOf());
  const published = new Map<IpFamily, Mac>([[4, Mac.parse('02:00:00:00:00:09')]]);
  expect(macOf({ macs: published })).toBe('02:00:00:00:00:09');
});

test.each([
  [undefined, undefined],
  [1500, undefined],
  [
    9000,
    'network.Backend.MTU 9000 is larger than the 1500 bytes of eth0, which carries the cluster: 1500 are used',
  ],
])('a configured MTU of %s is reported where it does not fit', (mtu, expected) => {
  const eth0 = machine().link('eth0');
  if (eth0 === undefined) throw new Error('there is no eth0');
  expect(excessiveMtu(config(mtu === undefined ? {} : { MTU: mtu }), eth0)?.message).toBe(expected);
});
