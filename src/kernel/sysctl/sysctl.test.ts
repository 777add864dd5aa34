import { expect, test } from 'vitest';
import { sysctlPath } from './sysctl.ts';

test.each([
  ['net.ipv4.ip_forward', '/proc/sys/net/ipv4/ip_forward'],
  ['net/ipv4/ip_forward', '/proc/sys/net/ipv4/ip_forward'],
  ['net/ipv4/conf/eth0.100/rp_filter', '/proc/sys/net/ipv4/conf/eth0.100/rp_filter'],
  ['net.ipv4.conf.eth0/100.rp_filter', '/proc/sys/net/ipv4/conf/eth0.100/rp_filter'],
])('%s', (key, path) => {
  expect(sysctlPath(key)).toBe(path);
});

test.each(['', 'net', '../etc/passwd', 'net/../../etc/passwd', 'net..ipv4', 'net.ipv4.', 'net.a/../b'])(
  'refused: %s',
  (key) => {
    expect(() => sysctlPath(key)).toThrow(expect.objectContaining({ code: 'INVALID_SYSCTL' }));
  },
);
