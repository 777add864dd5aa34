import { describe, expect, test } from 'vitest';
import { readNetConf } from './net-conf.ts';

const read = (value: unknown) => readNetConf(JSON.stringify(value), 'net-conf.json');

describe("flannel's net-conf.json", () => {
  test('as the manifest of flannel has it', () => {
    const { network, warnings } = read({
      Network: '10.244.0.0/16',
      EnableNFTables: false,
      Backend: { Type: 'vxlan' },
    });
    expect(network.networks.get(4)?.toString()).toBe('10.244.0.0/16');
    expect(network.backend).toMatchObject({ type: 'vxlan', vni: 1, port: 8472 });
    expect(warnings).toEqual([]);
  });

  test('names in any case, as Go reads them, and unknown ones passed over', () => {
    const { network, warnings } = read({
      network: '10.244.0.0/16',
      Comment: 'ours',
      backend: { type: 'vxlan', vni: 42, Colour: 'red' },
    });
    expect(network.backend).toMatchObject({ vni: 42 });
    expect(warnings).toEqual([
      'net-conf.json: Backend.Colour is not known and has no effect',
      'net-conf.json: Comment is not known and has no effect',
    ]);
  });

  test('a division that would not do in etcd is told, and holds nothing up', () => {
    const { warnings } = read({
      Network: '10.244.0.0/16',
      SubnetMin: '10.245.0.0',
      EnableIPv6: true,
      IPv6Network: 'fd00:10:244::/56',
      IPv6SubnetMax: 'fd00:10:244:7::1',
      Backend: { Type: 'vxlan' },
    });
    expect(warnings).toEqual([
      expect.stringContaining('net-conf.json: SubnetMin 10.245.0.0 is not within 10.244.0.0/16'),
      expect.stringContaining('IPv6SubnetMax fd00:10:244:7::1 is not the first address of a /64'),
    ]);
  });

  test('no backend is told: flannel and its documentation disagree', () => {
    const { network, warnings } = read({ Network: '10.244.0.0/16' });
    expect(network.backend.type).toBe('vxlan');
    expect(warnings.join()).toContain('flanneld itself takes udp');
  });

  test.each<[string, unknown, string]>([
    ['no network', {}, 'net-conf.json: Network: missing'],
    ['another family', { Network: 'fd00::/48' }, 'Network: "fd00::/48" is not an IPv4 network'],
    ['a backend nobody has', { Network: '10.0.0.0/8', Backend: { Type: 'gre' } }, 'unknown backend "gre"'],
    [
      'an identifier too large',
      { Network: '10.0.0.0/8', Backend: { Type: 'vxlan', VNI: 2 ** 24 } },
      'Backend.VNI',
    ],
    ['a list', [], 'is not an object'],
    [
      'every address there is',
      { Network: '0.0.0.0/0' },
      'Network: "0.0.0.0/0" has addresses that no pod can have',
    ],
    ['loopback', { Network: '127.0.0.0/8' }, 'has addresses that no pod can have'],
    ['both families off', { EnableIPv4: false }, 'neither EnableIPv4 nor EnableIPv6'],
  ])('%s is an error that names the field', (_, value, message) => {
    expect(() => read(value)).toThrow(message);
  });

  test.each([
    [`${'{"Type":'.repeat(50_000)}1${'}'.repeat(50_000)}`, 'Backend.Type: '],
    [`${'['.repeat(50_000)}${']'.repeat(50_000)}`, 'Backend: '],
  ])('what nests without end is an error as any other', (backend, message) => {
    const text = `{"Network": "10.244.0.0/16", "Backend": ${backend}}`;
    expect(() => readNetConf(text, 'net-conf.json')).toThrow(message);
  });

  test('text that is not JSON', () => {
    expect(() => readNetConf('{"Network": ', 'net-conf.json')).toThrow('net-conf.json: is not JSON');
  });
});
