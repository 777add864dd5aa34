import { describe, expect, test } from 'vitest';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { parseKubeProxyConfig } from './config/parse.ts';
import { resolveSettings, type SettingsSources } from './resolve-settings.ts';
import type { ProxySettings } from './settings.ts';

const ips = (...texts: string[]): Ip[] => texts.map((text) => Ip.parse(text));

const ADDRESSES = ips('10.250.0.1', '127.0.0.1', '192.0.2.1', '::1', 'fd00::1', 'fe80::1');

function resolve(fields: object, parts: Partial<SettingsSources> = {}): ProxySettings {
  const head = { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' };
  return resolveSettings({
    config: parseKubeProxyConfig(JSON.stringify({ ...head, ...fields }), 'test'),
    node: { ips: ips('10.250.0.1', 'fd00::1'), podCidrs: [Cidr.parse('10.244.1.0/24')] },
    serviceCidrs: [],
    families: [4, 6],
    addresses: ADDRESSES,
    ...parts,
  });
}

describe('node ports answer', () => {
  test.each<[string, object, string[] | 'all', boolean]>([
    ['everywhere but in nftables mode', { mode: 'iptables' }, 'all', true],
    ['at the addresses of the node in nftables mode', { mode: 'nftables' }, ['10.250.0.1', 'fd00::1'], false],
    ['at the addresses of the node', { nodePortAddresses: ['primary'] }, ['10.250.0.1', 'fd00::1'], false],
    ['everywhere', { nodePortAddresses: ['0.0.0.0/0', '::/0'] }, 'all', true],
    [
      'in a network; a family without one everywhere, link-local addresses apart',
      { nodePortAddresses: ['192.0.2.0/24'] },
      ['192.0.2.1', 'fd00::1'],
      false,
    ],
    [
      'on loopback by the setting of its own only',
      { nodePortAddresses: ['127.0.0.0/8', '::1/128'] },
      [],
      true,
    ],
    [
      'not on loopback where that is switched off',
      { nodePortAddresses: ['127.0.0.0/8', '::1/128'], iptables: { localhostNodePorts: false } },
      [],
      false,
    ],
    [
      'at the bind address',
      { bindAddress: '192.0.2.1', nodePortAddresses: ['primary'] },
      ['192.0.2.1', 'fd00::1'],
      false,
    ],
  ])('%s', (_, fields, addresses, localhost) => {
    const settings = resolve(fields);
    const { nodePortAddresses: found } = settings;
    expect(found === 'all' ? found : found.map(String)).toEqual(addresses);
    expect(settings.localhostNodePorts).toBe(localhost);
  });
});

test.each<[object, ProxySettings['localTraffic']]>([
  [{}, { kind: 'none' }],
  [{ clusterCIDR: '10.244.0.0/16' }, { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16')] }],
  [{ detectLocalMode: 'NodeCIDR' }, { kind: 'cidrs', cidrs: [Cidr.parse('10.244.1.0/24')] }],
  [
    { detectLocalMode: 'BridgeInterface', detectLocal: { bridgeInterface: 'cni0' } },
    { kind: 'bridge', device: 'cni0' },
  ],
  [
    { detectLocalMode: 'InterfaceNamePrefix', detectLocal: { interfaceNamePrefix: 'cali' } },
    { kind: 'interface-prefix', prefix: 'cali' },
  ],
])('with %j local traffic is known as %j', (fields, localTraffic) => {
  expect(resolve(fields).localTraffic).toEqual(localTraffic);
});

test('what is masqueraded is said by the section of the mode; ipvs and userspace have that of iptables', () => {
  const fields = {
    iptables: { masqueradeAll: true, masqueradeBit: 15 },
    nftables: { masqueradeAll: false, masqueradeBit: 16 },
  };
  for (const mode of ['iptables', 'ipvs', 'userspace']) {
    expect(resolve({ mode, ...fields })).toMatchObject({ masqueradeAll: true, masqueradeBit: 15 });
  }
  expect(resolve({ mode: 'nftables', ...fields })).toMatchObject({ masqueradeAll: false, masqueradeBit: 16 });
});

test('families are those that both node and kernel have; a node of another family than the kernel is an error', () => {
  expect(resolve({}).families).toEqual([4, 6]);
  expect(resolve({}, { families: [4] }).families).toEqual([4]);
  expect(resolve({}, { node: { ips: ips('10.250.0.1'), podCidrs: [] } }).families).toEqual([4]);
  expect(() => resolve({}, { node: { ips: ips('fd00::1'), podCidrs: [] }, families: [4] })).toThrow(
    expect.objectContaining({ code: 'FAMILY_MISMATCH' }),
  );
});
