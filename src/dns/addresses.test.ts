import { describe, expect, test } from 'vitest';
import { Cidr } from '../net/cidr.ts';
import { formatListenAddress, parseListenAddress } from './listen-address.ts';
import { parseResolvConf } from './resolv-conf.ts';
import { addressOfReverseName, reverseZoneOf } from './reverse-name.ts';

describe('addresses to listen on', () => {
  test.each([
    [':53', ':53'],
    ['0.0.0.0:53', ':53'],
    ['[::]:53', ':53'],
    ['10.96.0.10:53', '10.96.0.10:53'],
    ['[fd00::a]:5353', '[fd00::a]:5353'],
  ])('%s', (text, expected) => {
    expect(formatListenAddress(parseListenAddress(text))).toBe(expected);
  });

  test.each(['53', 'localhost:53', '10.0.0.1', '10.0.0.1:70000', 'fd00::a:x', ''])(
    '"%s" is refused',
    (text) => {
      expect(() => parseListenAddress(text)).toThrow(/is not an address to listen on/);
    },
  );
});

test('resolv.conf names servers; comments, options and nonsense are passed over', () => {
  const text = `# nameserver 1.1.1.1
search default.svc.cluster.local svc.cluster.local
nameserver 10.0.0.1
nameserver\tfe80::1%eth0
nameserver nonsense
options ndots:5
nameserver 10.0.0.2
nameserver 10.0.0.3
`;
  expect(parseResolvConf(text).map(({ ip, port }) => `${ip.toString()} ${port}`)).toEqual([
    '10.0.0.1 53',
    'fe80::1 53',
    '10.0.0.2 53',
  ]);
});

test('reverse names', () => {
  const v6 = '7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa';
  expect(addressOfReverseName('1.0.3.10.in-addr.arpa'.split('.'))?.toString()).toBe('10.3.0.1');
  expect(addressOfReverseName(v6.split('.'))?.toString()).toBe('fd00:10:244::7');
  for (const name of ['3.10.in-addr.arpa', '256.0.0.1.in-addr.arpa', 'x.ip6.arpa', 'cluster.local', 'arpa']) {
    expect([name, addressOfReverseName(name.split('.'))]).toEqual([name, undefined]);
  }
  expect(reverseZoneOf(Cidr.parse('10.96.0.0/16'))).toBe('96.10.in-addr.arpa');
  expect(reverseZoneOf(Cidr.parse('10.96.0.0/12'))).toBe('10.in-addr.arpa');
  expect(reverseZoneOf(Cidr.parse('fd00:10:96::/112'))).toMatch(
    /^0\.0\.0\.0\.0\.0.*\.6\.9\.0\.0\.0\.1\.0\.0\.0\.0\.d\.f\.ip6\.arpa$/,
  );
});
