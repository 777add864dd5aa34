import { describe, expect, test } from 'vitest';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { Mac } from '../../../net/mac.ts';
import type { NodeLease } from '../../node-lease.ts';
import { planPeer, podMtu, type LocalNode } from '../backend.ts';
import { formatEntry } from '../entry.ts';
import { udpSchema } from './settings.ts';
import { UdpBackend } from './udp.ts';

const vtepMac = Mac.parse('02:00:00:00:00:01');

const local: LocalNode = {
  name: 'node-1',
  underlay: { device: 'eth0', mtu: 1500, onLink: [] },
  families: new Map([
    [
      4,
      {
        podCidr: Cidr.parse('10.244.1.0/24'),
        network: Cidr.parse('10.244.0.0/16'),
        ip: Ip.parse('172.30.0.1'),
        vtepMac,
      },
    ],
  ]),
};

const offer = { type: 'udp', data: new Map<IpFamily, unknown>([[4, null]]) };
const peer: NodeLease = {
  node: 'node-2',
  offers: [offer],
  families: new Map([
    [4, { podCidr: Cidr.parse('10.244.2.0/24'), publicIp: Ip.parse('172.30.0.2') }],
    [6, { podCidr: Cidr.parse('fd00:10:244:2::/64'), publicIp: Ip.parse('fd00:30::2') }],
  ]),
};

const open = (settings: object = {}): UdpBackend =>
  new UdpBackend(udpSchema.parse({ Type: 'udp', ...settings }));

describe('what the node and a peer need', () => {
  test("the node: flannel's device, its address, the whole network into it", () => {
    expect(open().planNode(local).map(formatEntry)).toEqual([
      'link flannel0 mtu 1472 type tun local 172.30.0.1 port 8285',
      'address 10.244.1.0/32 dev flannel0',
      'route 10.244.0.0/16 dev flannel0',
    ]);
  });

  test('a peer: where its pods are, on the port that all nodes use', () => {
    const { entries, problems } = planPeer(open({ Port: 9000 }), local, peer, offer);
    expect(entries.map(formatEntry)).toEqual([
      'udp-peer 10.244.2.0/24 dev flannel0 via 172.30.0.2 port 9000',
      'route 10.244.2.0/24 dev flannel0',
    ]);
    expect(problems).toEqual([]);
  });

  test('pods have the MTU of the underlay less 28', () => {
    expect(podMtu([open()], local)).toBe(1472);
    expect(podMtu([open()], { ...local, underlay: { ...local.underlay, mtu: 9000 } })).toBe(8972);
  });

  test('its port is not tracked', () => {
    expect(open().tunnelPorts).toEqual([8285]);
  });
});

test('IPv6 is refused with the name of the node, IPv4 goes on', () => {
  const v6 = {
    podCidr: Cidr.parse('fd00:10:244:1::/64'),
    network: Cidr.parse('fd00:10:244::/56'),
    ip: Ip.parse('fd00:30::1'),
    vtepMac,
  };
  const dual = { ...local, families: new Map([...local.families, [6, v6] as const]) };
  const { entries, problems } = planPeer(open(), dual, peer, offer);
  expect(entries).toHaveLength(2);
  expect(problems.map(({ code, message }) => `${code} ${message}`)).toEqual([
    'FAMILY_NOT_CARRIED node node-2: its IPv6 pods cannot be reached: udp carries IPv4 only',
  ]);
});

test.each([{ Port: 0 }, { Port: 65_536 }, { Port: '8285' }, { MTU: 100 }, { VNI: 1 }])(
  'settings %j are refused',
  (settings) => {
    expect(udpSchema.safeParse({ Type: 'udp', ...settings }).success).toBe(false);
  },
);
