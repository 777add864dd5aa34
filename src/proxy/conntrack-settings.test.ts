import { expect, test } from 'vitest';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { createLogger } from '../log/logger.ts';
import { defaultKubeProxyConfig } from './config/parse.ts';
import { applyConntrackSettings, planConntrackSettings } from './conntrack-settings.ts';

const DEFAULTS = defaultKubeProxyConfig().conntrack;
const HASH_SIZE = '/sys/module/nf_conntrack/parameters/hashsize';

const maxOf = (conntrack: Partial<typeof DEFAULTS>, cores: number): number | undefined =>
  planConntrackSettings({ ...DEFAULTS, ...conntrack }, cores).find(({ key }) => key.endsWith('_max'))?.value;

test.each([
  ['by core', {}, 8, 262_144],
  ['no less than the floor', {}, 2, 131_072],
  ['no more than a million', {}, 64, 1_048_576],
  ['not at all', { maxPerCore: 0 }, 8, undefined],
  ['without a floor', { min: 0 }, 1, 32_768],
])('the largest number of connections is set %s', (_, conntrack, cores, max) => {
  expect(maxOf(conntrack, cores)).toBe(max);
});

class Files {
  readonly values: Map<string, string>;
  readonly refused = new Set<string>();

  constructor(values: Record<string, string>) {
    this.values = new Map(Object.entries(values));
  }

  read(key: string): string {
    return this.values.get(key) ?? '0';
  }

  write(key: string, value: string): void {
    if (this.refused.has(key)) throw new FlatnetError('read-only file system', { code: 'EROFS' });
    this.values.set(key, value);
  }
}

test('timeouts are written in seconds; what is 0 or right already stays; the hash table only grows', () => {
  const files = new Files({
    'net.netfilter.nf_conntrack_max': '131072',
    'net.netfilter.nf_conntrack_udp_timeout': '30',
    [HASH_SIZE]: '65536',
  });
  const wanted = { ...DEFAULTS, tcpBeLiberal: true, udpStreamTimeout: 90_500, tcpCloseWaitTimeout: 10 };
  applyConntrackSettings(wanted, createLogger('test', 'silent'), { files, cores: 2 });
  expect(Object.fromEntries(files.values)).toEqual({
    'net.netfilter.nf_conntrack_max': '131072',
    'net.netfilter.nf_conntrack_tcp_timeout_established': '86400',
    'net.netfilter.nf_conntrack_tcp_timeout_close_wait': '1',
    'net.netfilter.nf_conntrack_tcp_be_liberal': '1',
    'net.netfilter.nf_conntrack_udp_timeout': '30',
    'net.netfilter.nf_conntrack_udp_timeout_stream': '90',
    [HASH_SIZE]: '65536',
  });
});

test('a setting that cannot be written keeps no other one from being so', () => {
  const files = new Files({});
  files.refused.add('net.netfilter.nf_conntrack_max');
  applyConntrackSettings(DEFAULTS, createLogger('test', 'silent'), { files, cores: 2 });
  expect(files.values.get(HASH_SIZE)).toBe('32768');
  expect(files.values.get('net.netfilter.nf_conntrack_tcp_timeout_established')).toBe('86400');
});
