import { describe, expect, test } from 'vitest';
import { parseCniArgs } from './cni-args.ts';
import { parseResolvConf } from './dns.ts';
import { isContainerId, isInterfaceName, isNetworkName } from './identifiers.ts';
import { parsePluginConfig } from './plugin-config.ts';

describe('network configuration', () => {
  test('says nothing: all is the agent’s choice', () => {
    expect(parsePluginConfig({ name: 'cbr0', type: 'flatnet' })).toMatchObject({
      name: 'cbr0',
      mode: undefined,
      bridge: undefined,
      hairpin: true,
      ipam: undefined,
      runtimeConfig: { ips: [], portMappings: [] },
    });
  });

  test('flannel hands on what the bridge plugin would have had', () => {
    const config = parsePluginConfig({
      name: 'cbr0',
      type: 'flannel',
      delegate: { hairpinMode: false, isDefaultGateway: true, bridge: 'cni0', mtu: 1400, promiscMode: true },
    });
    expect(config).toMatchObject({ mode: 'bridge', bridge: 'cni0', hairpin: false, mtu: 1400 });
    expect(parsePluginConfig({ type: 'flannel' })).toMatchObject({ mode: 'bridge', hairpin: true });
  });

  test('ipam without ranges, or with the node’s own, means the node’s own', () => {
    for (const ipam of [{ type: 'host-local' }, { type: 'host-local', subnet: 'usePodCidr' }, {}]) {
      expect(parsePluginConfig({ ipam }).ipam).toMatchObject({ type: 'host-local', ranges: undefined });
    }
  });

  test('the form with one range stands before those of the list', () => {
    const { ipam } = parsePluginConfig({
      ipam: {
        type: 'host-local',
        subnet: '10.1.0.0/24',
        rangeStart: '10.1.0.9',
        ranges: [[{ subnet: 'fd00::/64' }]],
      },
    });
    const ranges = ipam?.type === 'host-local' ? ipam.ranges : [];
    expect(ranges?.map((set) => set.map(({ subnet }) => subnet.toString()))).toEqual([
      ['10.1.0.0/24'],
      ['fd00::/64'],
    ]);
    expect(ranges?.[0]?.[0]?.rangeStart?.toString()).toBe('10.1.0.9');
  });

  test('args.cni is the older way to ask; runtimeConfig wins for the MAC', () => {
    const args = { cni: { ips: ['10.1.0.5'], mac: '02:00:00:00:00:01' } };
    const { runtimeConfig } = parsePluginConfig({
      args,
      runtimeConfig: { mac: '02:00:00:00:00:02', ips: ['10.1.0.6/24'] },
    });
    expect(runtimeConfig.ips.map(({ ip, prefixLength }) => `${ip.toString()} ${prefixLength ?? ''}`)).toEqual(
      ['10.1.0.6 24', '10.1.0.5 '],
    );
    expect(runtimeConfig.mac?.toString()).toBe('02:00:00:00:00:02');
  });

  test.each<[object, string]>([
    [{ ipam: { type: 'host-local', routes: [{ dst: 'x' }] } }, 'ipam.routes.0.dst: "x" is not a network'],
    [
      { ipam: { type: 'host-local', routes: [{ dst: '0.0.0.0/0', advmss: 1 }] } },
      'ipam.routes.0.advmss: advmss is not supported',
    ],
    [{ ipam: { type: 'host-local', resolvConf: 'etc' } }, 'ipam.resolvConf: must be an absolute path'],
    [
      { ipam: { type: 'host-local', subnet: '10.1.0.0/24', gateway: 'x' } },
      'ipam.gateway: "x" is not an IP address',
    ],
    [
      { ipam: { type: 'host-local', subnet: '10.1.0.0/24', gateway: 'fd00::1' } },
      'ipam.gateway: "fd00::1" is not the IPv4 address of a gateway',
    ],
    [
      { ipam: { type: 'host-local', ranges: [[{ subnet: '10.1.0.0/24', gateway: '224.0.0.1' }]] } },
      'ipam.ranges.0.0.gateway: "224.0.0.1" is not the IPv4 address of a gateway',
    ],
    [
      { ipam: { type: 'host-local', ranges: [[{ subnet: '0.0.0.0/0' }]] } },
      'ipam.ranges.0.0.subnet: "0.0.0.0/0" has addresses that no pod can have',
    ],
    [
      { ipam: { type: 'host-local', routes: [{ dst: '10.0.0.0/8', gw: 'fd00::1' }] } },
      'ipam.routes.0.gw: "fd00::1" is not the IPv4 address of a gateway',
    ],
    [
      { ipam: { type: 'static', addresses: [{ address: '10.1.0.5/24', gateway: 'fd00::1' }] } },
      'ipam.addresses.0.gateway: "fd00::1" is not the IPv4 address of a gateway',
    ],
    [{ ipam: { type: 'static', addresses: [{ address: '127.0.0.5/8' }] } }, 'ipam.addresses.0.address: '],
    [
      { ipam: { type: 'static', addresses: [{ address: '10.1.0.5' }] } },
      'ipam.addresses.0.address: "10.1.0.5" is not an address with prefix length',
    ],
    [{ mtu: 1 }, 'mtu: '],
    [{ name: '../x' }, 'name: is not the name of a network'],
    [{ type: 'flannel', delegate: { ipam: {} } }, "delegate.ipam: 'delegate' must not have an ipam section"],
  ])('%j names the field', (config, words) => {
    expect(() => parsePluginConfig(config)).toThrow(words);
    expect(() => parsePluginConfig(config)).toThrow(expect.objectContaining({ cniCode: 7 }));
  });
});

describe('CNI_ARGS', () => {
  test('of kubelet, and of those who ask for an address', () => {
    const args = parseCniArgs(
      'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;X=y;IP=10.1.0.5/24;GATEWAY=10.1.0.1',
    );
    expect(args.pod).toBe('shop/web-0');
    expect(String(args.ip?.ip)).toBe('10.1.0.5');
    expect(String(args.gateway)).toBe('10.1.0.1');
    expect(parseCniArgs('').pod).toBeUndefined();
  });

  test.each([
    ['X=y', 'unknown X'],
    ['=y', '"=y" is not KEY=VALUE'],
    ['IP=x', 'IP: "x" is not valid'],
    ['MAC=ff:ff:ff:ff:ff:ff', 'MAC'],
  ])('%s', (text, words) => {
    expect(() => parseCniArgs(text)).toThrow(words);
    expect(() => parseCniArgs(text)).toThrow(expect.objectContaining({ cniCode: 4 }));
  });
});

test('resolv.conf', () => {
  const text =
    '# c\nnameserver 1.1.1.1 # first\nnameserver ::1\n;x\nsearch a\nsearch b c\noptions ndots:5 rotate\ndomain d\n';
  expect(parseResolvConf(text)).toEqual({
    nameservers: ['1.1.1.1', '::1'],
    search: ['b', 'c'],
    options: ['ndots:5', 'rotate'],
    domain: 'd',
  });
  expect(parseResolvConf('')).toEqual({});
});

test('names never lead out of a folder', () => {
  for (const name of ['', '.', '..', 'a/b', '../x', 'a\0b', 'a b', ':', 'a:b', '-x', 'é']) {
    expect(isContainerId(name)).toBe(false);
    expect(isNetworkName(name)).toBe(false);
  }
  for (const name of ['', '.', '..', 'a/b', 'a:b', 'eth%d', 'all', 'a234567890123456', 'a\0']) {
    expect(isInterfaceName(name)).toBe(false);
  }
  expect(isContainerId('a'.repeat(64))).toBe(true);
  expect(isInterfaceName('net1@2')).toBe(true);
});
