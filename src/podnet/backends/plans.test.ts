import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { Mac } from '../../net/mac.ts';
import type { NodeLease } from '../node-lease.ts';
import { AllocBackend } from './alloc/alloc.ts';
import { planPeer, podMtu, type Backend, type LocalNode, type PeerPlan } from './backend.ts';
import { entryKey, formatEntry } from './entry.ts';
import { HostGwBackend } from './hostgw/host-gw.ts';
import { IpipBackend } from './ipip/ipip.ts';
import { meet } from './meeting.ts';
import { vxlanSchema } from './vxlan/settings.ts';
import { VxlanBackend } from './vxlan/vxlan.ts';

const mac = (n: number): Mac => Mac.parse(`02:00:00:00:00:${n.toString(16).padStart(2, '0')}`);

const here: LocalNode = {
  name: 'node-1',
  underlay: { device: 'eth0', mtu: 1500, onLink: [Cidr.parse('172.30.0.0/24'), Cidr.parse('fd00:30::/64')] },
  families: new Map([
    [
      4,
      {
        podCidr: Cidr.parse('10.244.1.0/24'),
        network: Cidr.parse('10.244.0.0/16'),
        ip: Ip.parse('172.30.0.1'),
        vtepMac: mac(1),
      },
    ],
    [
      6,
      {
        podCidr: Cidr.parse('fd00:10:244:1::/64'),
        network: Cidr.parse('fd00:10:244::/56'),
        ip: Ip.parse('fd00:30::1'),
        vtepMac: mac(0x61),
      },
    ],
  ]),
};

function peer(
  n: number,
  changes: { ip?: string; type?: string; vni?: number; podCidr?: string } = {},
): NodeLease {
  const type = changes.type ?? 'vxlan';
  const data = type === 'vxlan' ? { VNI: changes.vni ?? 1, VtepMAC: mac(n).toString() } : null;
  const podCidr = Cidr.parse(changes.podCidr ?? `10.244.${n}.0/24`);
  return {
    node: `node-${n}`,
    offers: [{ type, data: new Map<IpFamily, unknown>([[4, data]]) }],
    families: new Map([[4, { podCidr, publicIp: Ip.parse(changes.ip ?? `172.30.0.${n}`) }]]),
  };
}

const vxlan = (directRouting = false, more: object = {}, kernelRelease = '6.1.0'): Backend =>
  new VxlanBackend(
    vxlanSchema.parse({ Type: 'vxlan', DirectRouting: directRouting, ...more }),
    kernelRelease,
  );
const ipip = (directRouting = false): Backend =>
  new IpipBackend({ type: 'ipip', directRouting, underlayMtu: undefined });
const linksOf = (backend: Backend): string[] =>
  backend
    .planNode(here)
    .filter(({ kind }) => kind === 'link')
    .map(formatEntry);

function plan(backend: Backend, lease: NodeLease): PeerPlan {
  return planPeer(backend, here, lease, meet([backend], lease).offer);
}
const planned = (backend: Backend, lease: NodeLease): string[] =>
  plan(backend, lease).entries.map(formatEntry);
const problems = (backend: Backend, lease: NodeLease): string =>
  plan(backend, lease)
    .problems.map(({ message }) => message)
    .join();

describe('vxlan', () => {
  test("the node's own devices are flannel's", () => {
    expect(vxlan().planNode(here).map(formatEntry)).toEqual([
      'link flannel.1 address 02:00:00:00:00:01 mtu 1450 type vxlan id 1 local 172.30.0.1 dev eth0 dstport 8472 nolearning',
      'address 10.244.1.0/32 dev flannel.1',
      'link flannel-v6.1 address 02:00:00:00:00:61 mtu 1430 type vxlan id 1 local fd00:30::1 dev eth0 dstport 8472 nolearning',
      'address fd00:10:244:1::/128 dev flannel-v6.1',
    ]);
  });

  test('VNI, port, learning and GBP are as configured', () => {
    const more = { VNI: 4096, Port: 4789, Learning: true, GBP: true };
    expect(linksOf(vxlan(false, more))[0]).toBe(
      'link flannel.4096 address 02:00:00:00:00:01 mtu 1450 type vxlan id 4096 local 172.30.0.1 dev eth0 dstport 4789 learning gbp',
    );
  });

  test('checksums are left to the device unless the kernel has the fault, or as configured', () => {
    expect(linksOf(vxlan(false, {}, '5.4.0-150-generic'))[0]).toMatch(/ nolearning tx-checksum off$/);
    expect(linksOf(vxlan(false, {}, '5.10.0'))[0]).toMatch(/ nolearning$/);
    expect(linksOf(vxlan(false, { TxChecksumOffload: true }, '5.4.0'))[0]).toMatch(/ nolearning$/);
    expect(linksOf(vxlan(false, { TxChecksumOffload: false }))[0]).toMatch(/ tx-checksum off$/);
  });

  test('a peer is neighbour, forwarding entry and route', () => {
    expect(planned(vxlan(), peer(2))).toEqual([
      'neighbour 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent',
      'fdb 02:00:00:00:00:02 dev flannel.1 dst 172.30.0.2 self permanent',
      'route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink',
    ]);
  });

  test('direct routing is taken only to nodes of the same subnet', () => {
    expect(planned(vxlan(true), peer(2))).toEqual(['route 10.244.2.0/24 via 172.30.0.2 dev eth0 mtu 1430']);
    expect(planned(vxlan(true), peer(2, { ip: '172.31.0.2' }))).toHaveLength(3);
  });

  test.each<[string, NodeLease, string]>([
    ['our pod CIDR', peer(2, { podCidr: '10.244.0.0/16' }), 'pod CIDR 10.244.0.0/16 overlaps 10.244.1.0/24'],
    ['an address of a pod', peer(2, { ip: '10.244.2.1' }), 'public IP 10.244.2.1 lies in 10.244.2.0/24'],
    ['our address', peer(2, { ip: '172.30.0.1' }), "public IP 172.30.0.1 is this node's own"],
  ])('a peer with %s is reported and not programmed', (_, lease, message) => {
    expect(problems(vxlan(), lease)).toContain(`node node-2`);
    expect(problems(vxlan(), lease)).toContain(message);
    expect(planned(vxlan(), lease)).toEqual([]);
  });
});

test.each<[string, NodeLease, string]>([
  ['VNI', peer(2, { vni: 9 }), 'node node-2 has backend vxlan {"VNI":9,"VtepMAC":"02:00:00:00:00:02"}'],
  ['type', peer(2, { type: 'host-gw' }), 'node node-2 has backend host-gw, but this node has vxlan 1'],
])('nodes whose backends differ in %s do not meet', (_, lease, message) => {
  expect(() => meet([vxlan()], lease)).toThrow(message);
});

describe('ipip', () => {
  test("the node's own device is flannel's, for IPv4 alone", () => {
    expect(ipip().planNode(here).map(formatEntry)).toEqual([
      'link flannel.ipip mtu 1480 type ipip local 172.30.0.1 remote any ttl inherit nopmtudisc',
      'address 10.244.1.0/32 dev flannel.ipip',
    ]);
  });

  test('a peer is a route into the device by way of its address, or past it on the same subnet', () => {
    const far = { type: 'ipip', ip: '172.31.0.2' };
    expect(planned(ipip(), peer(2, { type: 'ipip' }))).toEqual([
      'route 10.244.2.0/24 via 172.30.0.2 dev flannel.ipip onlink',
    ]);
    expect(planned(ipip(true), peer(2, { type: 'ipip' }))).toEqual([
      'route 10.244.2.0/24 via 172.30.0.2 dev eth0 mtu 1480',
    ]);
    expect(planned(ipip(true), peer(2, far))).toEqual([
      'route 10.244.2.0/24 via 172.31.0.2 dev flannel.ipip onlink',
    ]);
  });

  test('IPv6 is reported with the remedy, IPv4 served', () => {
    const both = peer(2, { type: 'ipip' });
    const six = { podCidr: Cidr.parse('fd00:10:244:2::/64'), publicIp: Ip.parse('fd00:30::2') };
    const lease: NodeLease = { ...both, families: new Map([...both.families, [6, six]]) };
    expect(problems(ipip(), lease)).toBe(
      'node node-2: its IPv6 pods cannot be reached: ipip carries IPv4 only',
    );
    expect(planned(ipip(), lease)).toHaveLength(1);
  });
});

test('alloc leaves reaching other nodes to others', () => {
  const alloc = new AllocBackend();
  expect(alloc.planNode()).toEqual([]);
  expect(plan(alloc, peer(2, { type: 'alloc' }))).toEqual({ entries: [], problems: [] });
});

describe('host-gw', () => {
  const backend = new HostGwBackend();

  test('a peer is a route by way of its address', () => {
    expect(backend.planNode()).toEqual([]);
    expect(planned(backend, peer(2, { type: 'host-gw' }))).toEqual([
      'route 10.244.2.0/24 via 172.30.0.2 dev eth0',
    ]);
  });

  test('a peer behind a router is reported with the remedy', () => {
    expect(problems(backend, peer(2, { type: 'host-gw', ip: '172.31.0.2' }))).toContain(
      'node node-2: 172.31.0.2 is not on a subnet of eth0 (172.30.0.0/24, fd00:30::/64): host-gw cannot reach it',
    );
  });
});

test.each([
  ['host-gw', new HostGwBackend(), 'route 10.244.2.0/24 via 172.30.0.2 dev eth0 mtu 1500'],
  ['vxlan', vxlan(), 'route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink mtu 1430'],
  ['vxlan', vxlan(true), 'route 10.244.2.0/24 via 172.30.0.2 dev eth0 mtu 1430'],
])(
  '%s: routes have the MTU of pods where another node carries less than this one',
  (type, backend, route) => {
    const lease = peer(2, { type });
    const [offer] = lease.offers;
    const routesAt = (mtu: number, pathMtu: number): string[] => {
      const local = { ...here, underlay: { ...here.underlay, mtu, pathMtu } };
      const { entries } = planPeer(backend, local, lease, offer);
      return entries.filter(({ kind }) => kind === 'route').map(formatEntry);
    };
    expect(routesAt(9000, 1500)).toEqual([route]);
    expect(routesAt(1500, 1500)).toEqual(
      planned(backend, lease).filter((entry) => entry.startsWith('route')),
    );
  },
);

test('pods get the MTU that is left by the largest encapsulation in use', () => {
  const v4 = { ...here, families: new Map([...here.families].filter(([family]) => family === 4)) };
  expect(podMtu([vxlan()], v4)).toBe(1450);
  expect(podMtu([vxlan()], here)).toBe(1430);
  expect(podMtu([ipip()], v4)).toBe(1480);
  expect(podMtu([new AllocBackend()], here)).toBe(1500);
  expect(podMtu([new HostGwBackend()], here)).toBe(1500);
});

test('plans of different peers never meet, whatever subset of the cluster is planned', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 2, max: 250 })), fc.boolean(), (nodes, direct) => {
      const keys = nodes.flatMap((n) => plan(vxlan(direct), peer(n)).entries.map(entryKey));
      expect(new Set(keys).size).toBe(keys.length);
      expect(keys.filter((key) => key.startsWith('route'))).toHaveLength(nodes.length);
    }),
    { numRuns: 30 },
  );
});
