import { expect, test } from 'vitest';
import { Ip } from '../net/ip.ts';
import { choosePublicAddress, isNoHost } from './public-address.ts';

const ipOf = (text: string | undefined) => (text === undefined ? undefined : Ip.parse(text));

test.each([
  [undefined, undefined, '172.30.0.1 by address of the interface'],
  [undefined, '198.51.100.7', '198.51.100.7 by publicIP'],
  ['203.0.113.9', '198.51.100.7', '203.0.113.9 by annotation public-ip-overwrite'],
])('overwrite %j, configured %j: %s', (overwrite, configured, expected) => {
  const { ip, reason } = choosePublicAddress({
    overwrite: ipOf(overwrite),
    configured: ipOf(configured),
    own: Ip.parse('172.30.0.1'),
  });
  expect(`${ip.toString()} by ${reason}`).toBe(expected);
});

test.each(['0.0.0.0', '127.0.0.1', '224.0.0.5', '255.255.255.255', '::', '::1', 'fe80::1', 'ff02::1'])(
  '%s reaches no node',
  (text) => expect(isNoHost(Ip.parse(text))).toBe(true),
);

test.each(['10.0.0.1', '203.0.113.9', '2001:db8::1', 'fd00::1'])('%s may be a node', (text) =>
  expect(isNoHost(Ip.parse(text))).toBe(false),
);
