import fc from 'fast-check';
import { SocketAddress } from 'node:net';
import { describe, expect, test } from 'vitest';
import { Cidr } from './cidr.ts';
import { Ip } from './ip.ts';
import { Mac } from './mac.ts';

describe('Ip', () => {
  test('IPv4 text and bytes round-trip', () => {
    fc.assert(
      fc.property(fc.ipV4(), (text) => {
        const ip = Ip.parse(text);
        expect(ip.toString()).toBe(text);
        expect(Ip.fromBytes(ip.toBytes()).equals(ip)).toBe(true);
      }),
    );
  });

  test('IPv6 text is what inet_ntop writes', () => {
    fc.assert(
      fc.property(fc.ipV6(), (text) => {
        // ::a.b.c.d (deprecated, RFC 4291 2.5.5.1) is where inet_ntop and RFC 5952 part ways.
        const ip = Ip.parse(text);
        fc.pre(ip.value >> 32n !== 0n || ip.value < 0x10000n);
        expect(ip.toString()).toBe(new SocketAddress({ address: text, family: 'ipv6' }).address);
        expect(Ip.parse(ip.toString()).equals(ip)).toBe(true);
      }),
    );
  });

  test.each(['', '10.0.0', '10.0.0.256', '01.2.3.4', '10.0.0.1/8', 'fe80::1%eth0', '1::2::3'])(
    'refuses %j',
    (text) => {
      expect(() => Ip.parse(text)).toThrow(/is not an IP address/);
    },
  );
});

describe('Cidr', () => {
  test('contains exactly first to last', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.integer({ min: 1, max: 32 }), fc.ipV4(), (base, length, probe) => {
        const cidr = Cidr.parse(`${base}/${length}`);
        const ip = Ip.parse(probe);
        expect(cidr.contains(ip)).toBe(ip.value >= cidr.first.value && ip.value <= cidr.last.value);
      }),
    );
  });

  test('overlap is symmetric and means a shared address', () => {
    expect(Cidr.parse('10.0.0.0/8').overlaps(Cidr.parse('10.96.0.0/12'))).toBe(true);
    expect(Cidr.parse('10.96.0.0/12').overlaps(Cidr.parse('10.0.0.0/8'))).toBe(true);
    expect(Cidr.parse('10.244.0.0/16').overlaps(Cidr.parse('10.96.0.0/12'))).toBe(false);
    expect(Cidr.parse('10.0.0.0/8').overlaps(Cidr.parse('::/0'))).toBe(false);
  });

  test.each(['10.0.0.0', '10.0.0.0/33', '10.0.0.0/-1', 'x/8', '::/129'])('refuses %j', (text) => {
    expect(() => Cidr.parse(text)).toThrow(/is not a network/);
  });

  test('parseStrict proposes the network for an address with host bits', () => {
    expect(() => Cidr.parseStrict('10.244.1.7/24')).toThrow('has bits set behind its prefix');
    expect(Cidr.parseStrict('10.244.1.0/24').at(5).toString()).toBe('10.244.1.5');
  });
});

test('Mac text round-trips and refuses the rest', () => {
  expect(Mac.parse('0A:58:0a:f4:01:07').toString()).toBe('0a:58:0a:f4:01:07');
  expect(() => Mac.parse('0a58.0af4.0107')).toThrow(/is not a MAC address/);
});
