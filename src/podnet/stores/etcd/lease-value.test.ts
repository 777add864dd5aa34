import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { Publication } from '../lease-store.ts';
import { formatLeaseValue, parseLeaseValue } from './lease-value.ts';
import { parseSubnetName, sameSubnetNames, subnetName, type Subnets } from './subnet-key.ts';

const subnets = (...texts: string[]): Subnets =>
  new Map(texts.map((text) => Cidr.parse(text)).map((cidr) => [cidr.family, cidr]));

const publication = (
  type: string,
  data: object | null,
  v6?: { ip: string; data: object | null },
): Publication => ({
  offers: [
    {
      type,
      data: new Map<IpFamily, unknown>([[4, data], ...(v6 === undefined ? [] : [[6, v6.data] as const])]),
    },
  ],
  publicIps: new Map<IpFamily, Ip>([
    [4, Ip.parse('192.168.64.3')],
    ...(v6 === undefined ? [] : [[6, Ip.parse(v6.ip)] as const]),
  ]),
});

describe('names of leases', () => {
  test.each([
    [subnets('10.5.52.0/24'), '10.5.52.0-24'],
    [subnets('10.5.52.0/24', 'fc00:5:0:1::/64'), '10.5.52.0-24&fc00:5:0:1::-64'],
    [subnets('fc00:5:0:1::/64'), '0.0.0.0-0&fc00:5:0:1::-64'],
  ])('%#', (given, name) => {
    expect(subnetName(given)).toBe(name);
    expect(subnetName(parseSubnetName(name) ?? new Map())).toBe(name);
  });

  test.each([
    '',
    'config',
    '10.5.52.0',
    '10.5.52.0-33',
    '10.5.52.7-24',
    '10.5.52.0-24&',
    '10.5.52.0-24&10.5.53.0-24',
    '10.5.52.0-24/x',
    '0.0.0.0-0',
    '300.1.2.0-24',
    '10.5.52.0-24&fc00::1-64',
  ])('"%s" is none', (name) => {
    expect(parseSubnetName(name)).toBeUndefined();
  });

  test('names with the same IPv4 subnet lie in one range of bytes, others outside', () => {
    const octet = fc.integer({ min: 0, max: 255 });
    const v4 = fc
      .tuple(octet, octet, octet, octet, fc.integer({ min: 1, max: 32 }))
      .map(([a, b, c, d, length]) => Cidr.parse(`${a}.${b}.${c}.${d}/${length}`));
    const v6 = fc
      .tuple(fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }), fc.integer({ min: 0, max: 128 }))
      .map(([value, length]) => new Cidr(Ip.fromValue(6, value), length));
    fc.assert(
      fc.property(v4, v4, fc.option(v6), (mine, theirs, beside) => {
        const { from, to } = sameSubnetNames(mine);
        const name = subnetName(
          new Map<IpFamily, Cidr>([[4, theirs], ...(beside === null ? [] : [[6, beside] as const])]),
        );
        const isInside =
          Buffer.compare(Buffer.from(name), Buffer.from(from)) >= 0 &&
          Buffer.compare(Buffer.from(name), Buffer.from(to)) < 0;
        expect(isInside).toBe(mine.equals(theirs));
        expect(subnetName(parseSubnetName(name) ?? new Map())).toBe(name);
      }),
    );
  });
});

describe("values, byte for byte flannel's", () => {
  const vxlan = { VNI: 1, VtepMAC: 'c6:d2:32:6f:8f:44' };
  test.each<[Publication, string]>([
    [
      publication('vxlan', vxlan),
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
    ],
    [publication('host-gw', null), '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}'],
    [publication('udp', null), '{"PublicIP":"192.168.64.3","PublicIPv6":null}'],
    [
      publication('wireguard', { PublicKey: 'yIB=', Port: 51820 }),
      '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"yIB=","Port":51820}}',
    ],
    [
      publication('vxlan', vxlan, { ip: 'fd00::3', data: vxlan }),
      '{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
    ],
  ])('%#', (given, text) => {
    expect(formatLeaseValue(given)).toBe(text);
    const { offers, publicIps } = parseLeaseValue('/k', text, 'udp');
    expect(formatLeaseValue({ offers, publicIps })).toBe(text);
  });

  test('several offers, of which flannel sees the first', () => {
    const both: Publication = {
      ...publication('vxlan', vxlan),
      offers: [
        { type: 'vxlan', data: new Map([[4, vxlan]]) },
        { type: 'udp', data: new Map([[4, null]]) },
        { type: 'wireguard', data: new Map([[4, { PublicKey: 'k' }]]) },
      ],
    };
    const text = formatLeaseValue(both);
    expect(text).toContain(
      '"FlatnetBackends":[{},{"BackendType":"wireguard","BackendData":{"PublicKey":"k"}}]}',
    );
    const read = parseLeaseValue('/k', text, 'udp');
    expect(read.offers.map(({ type }) => type)).toEqual(['vxlan', 'udp', 'wireguard']);
    expect(formatLeaseValue(read)).toBe(text);
  });

  test('a lease without a backend is udp, or alloc where the cluster is', () => {
    const text = '{"PublicIP":"192.0.2.1"}';
    expect(parseLeaseValue('/k', text, 'udp').offers[0].type).toBe('udp');
    expect(parseLeaseValue('/k', text, 'alloc').offers[0].type).toBe('alloc');
  });

  test.each([
    ['', 'etcd /k: is "", which is not JSON'],
    [`${'['.repeat(100_000)}${']'.repeat(100_000)}`, 'JSON of more than 32 levels'],
    ['[]', 'etcd /k: '],
    [`{"BackendData":${'['.repeat(90_000)}${']'.repeat(90_000)}}`, 'which is JSON of more than 32 levels'],
    [`{"PublicIP":"192.0.2.1","FlatnetBackends":[${'{},'.repeat(999)}{}]}`, 'FlatnetBackends: '],
    ['{}', 'etcd /k: PublicIP: '],
    ['{"PublicIP":7}', 'etcd /k: PublicIP: '],
    ['{"PublicIP":"x"}', 'etcd /k: PublicIP is "x", not an IPv4 address'],
    ['{"PublicIP":"fd00::1"}', 'PublicIP is "fd00::1", not an IPv4 address'],
    ['{"PublicIP":"127.0.0.1"}', 'PublicIP is 127.0.0.1, which is no address of a node'],
    ['{"PublicIP":"0.0.0.0"}', 'PublicIP 0.0.0.0 is no address of a node'],
    ['{"PublicIP":"192.0.2.1","PublicIPv6":"192.0.2.1"}', 'PublicIPv6 is "192.0.2.1", not an IPv6 address'],
    ['{"PublicIP":"192.0.2.1","BackendType":5}', 'BackendType: '],
    [`{"PublicIP":"${'9'.repeat(2000)}"}`, '… (2000 characters)'],
  ])('wrong: %.40s', (text, message) => {
    expect(() => parseLeaseValue('/k', text, 'udp')).toThrow(message);
  });
});
