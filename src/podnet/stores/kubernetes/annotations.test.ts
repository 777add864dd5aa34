import { describe, expect, test } from 'vitest';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { NodeLease } from '../../node-lease.ts';
import type { Publication } from '../lease-store.ts';
import {
  publicIpOverwrite,
  publishedOffer,
  readLease,
  writePublication,
  type AnnotatedNode,
} from './annotations.ts';

const V4 = new Map<IpFamily, Cidr>([[4, Cidr.parse('10.244.0.0/16')]]);
const DUAL = new Map<IpFamily, Cidr>([...V4, [6, Cidr.parse('fd00::/48')]]);

const P = 'flannel.alpha.coreos.com/';

/** As `kubectl get node -o json` shows a node on which flannel 0.27 runs with backend vxlan. */
const flannelNode: AnnotatedNode = {
  name: 'node-2',
  podCidrs: ['10.244.2.0/24'],
  annotations: {
    [`${P}backend-data`]: '{"VNI":1,"VtepMAC":"da:a5:87:d7:60:b3"}',
    [`${P}backend-type`]: 'vxlan',
    [`${P}kube-subnet-manager`]: 'true',
    [`${P}public-ip`]: '172.30.0.2',
  },
};

const without = (name: string): AnnotatedNode => ({
  ...flannelNode,
  annotations: Object.fromEntries(
    Object.entries(flannelNode.annotations).filter(([key]) => key !== P + name),
  ),
});
const withOne = (name: string, value: string): AnnotatedNode => ({
  ...flannelNode,
  annotations: { ...flannelNode.annotations, [P + name]: value },
});

describe('reading', () => {
  test("a flannel node's lease, which writes back to the same bytes", () => {
    const { lease, problems } = readLease(flannelNode, V4);
    expect(problems).toEqual([]);
    expect(lease?.families.get(4)?.publicIp.toString()).toBe('172.30.0.2');
    expect(lease?.families.get(4)?.podCidr.toString()).toBe('10.244.2.0/24');
    expect(writePublication(asPublication(lease as NodeLease))).toEqual(flannelNode.annotations);
  });

  test.each([
    ['not managed', without('kube-subnet-manager')],
    ['managed by somebody else', withOne('kube-subnet-manager', 'false')],
    ['without pod CIDR yet', { ...flannelNode, podCidrs: [] }],
  ])('a node %s is ignored without complaint', (_, node) => {
    expect(readLease(node, V4)).toEqual({ lease: undefined, problems: [] });
  });

  test.each<[AnnotatedNode, string]>([
    [without('public-ip'), `node node-2: annotation ${P}public-ip is missing`],
    [withOne('public-ip', 'fd00::1'), `annotation ${P}public-ip is "fd00::1", not an IPv4 address`],
    [withOne('backend-data', '{"VNI":1'), `annotation ${P}backend-data is "{\\"VNI\\":1", which is not JSON`],
    [withOne('backend-data', 'x'.repeat(200_000)), 'x"… (200000 characters), which is not JSON'],
    [
      withOne('backend-data', '['.repeat(90_000) + ']'.repeat(90_000)),
      'which is JSON of more than 32 levels',
    ],
    [
      withOne('public-ip', '127.0.0.1'),
      `annotation ${P}public-ip is 127.0.0.1, which is no address of a node`,
    ],
    [withOne('public-ip', '0.0.0.0'), 'which is no address of a node'],
    [withOne('public-ip', '239.1.1.1'), 'which is no address of a node'],
    [without('backend-type'), `annotation ${P}backend-type is missing`],
    [
      { ...flannelNode, podCidrs: ['10.244.2.7/24'] },
      'node node-2: spec.podCIDRs: "10.244.2.7/24" has bits set',
    ],
  ])('a wrong annotation is named', (node, message) => {
    const { lease, problems } = readLease(node, V4);
    expect(lease).toBeUndefined();
    expect(problems.map((problem) => problem.message).join()).toContain(message);
  });

  test('one family that is wrong leaves the other usable', () => {
    const { lease, problems } = readLease(
      { ...flannelNode, podCidrs: ['10.244.2.0/24', 'fd00:0:0:2::/64'] },
      DUAL,
    );
    expect([...(lease?.families.keys() ?? [])]).toEqual([4]);
    expect(problems).toHaveLength(1);
    expect(problems[0]?.message).toContain('public-ipv6 is missing');
  });
});

function asPublication({ offers, families }: NodeLease): Publication {
  const publicIps = new Map([...families].map(([family, { publicIp }]) => [family, publicIp]));
  return { offers, publicIps };
}

test('host-gw and dual stack are written as flannel writes them', () => {
  const publicIps = new Map<IpFamily, Ip>([[4, Ip.parse('172.30.0.1')]]);
  const none = new Map<IpFamily, unknown>([[4, null]]);
  expect(writePublication({ offers: [{ type: 'host-gw', data: none }], publicIps })).toEqual({
    [`${P}backend-type`]: 'host-gw',
    [`${P}kube-subnet-manager`]: 'true',
    [`${P}backend-data`]: 'null',
    [`${P}public-ip`]: '172.30.0.1',
  });
  const data = new Map<IpFamily, unknown>([[6, { VNI: 7, VtepMAC: '02:00:00:00:00:07' }]]);
  const v6 = new Map<IpFamily, Ip>([[6, Ip.parse('fd00::a')]]);
  expect(writePublication({ offers: [{ type: 'vxlan', data }], publicIps: v6 })).toMatchObject({
    [`${P}backend-v6-data`]: '{"VNI":7,"VtepMAC":"02:00:00:00:00:07"}',
    [`${P}public-ipv6`]: 'fd00::a',
  });
});

test('a flannel with the backend udp writes no type', () => {
  const annotations = { ...flannelNode.annotations, [`${P}backend-type`]: '', [`${P}backend-data`]: 'null' };
  const { lease, problems } = readLease({ ...flannelNode, annotations }, V4);
  expect(lease?.offers).toEqual([{ type: 'udp', data: new Map([[4, null]]) }]);
  expect(problems).toEqual([]);
});

test('what a restarted node takes from its own annotations', () => {
  expect(publishedOffer(flannelNode.annotations, [4, 6])).toEqual({
    type: 'vxlan',
    data: new Map<IpFamily, unknown>([
      [4, { VNI: 1, VtepMAC: 'da:a5:87:d7:60:b3' }],
      [6, null],
    ]),
  });
  expect(publicIpOverwrite(flannelNode, 4)).toBeUndefined();
  expect(publicIpOverwrite(withOne('public-ip-overwrite', '203.0.113.9'), 4)?.toString()).toBe('203.0.113.9');
  expect(() => publicIpOverwrite(withOne('public-ip-overwrite', 'x'), 4)).toThrow(
    'public-ip-overwrite is "x"',
  );
});
