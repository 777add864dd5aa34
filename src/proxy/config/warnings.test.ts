import { expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { parseKubeProxyConfig } from './parse.ts';
import { configWarnings } from './warnings.ts';

const HEAD = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

function warnings(text: string, ips = ['192.0.2.1'], podCidrs: string[] = []): string[] {
  const node = { ips: ips.map((ip) => Ip.parse(ip)), podCidrs: podCidrs.map((cidr) => Cidr.parse(cidr)) };
  return configWarnings(parseKubeProxyConfig(HEAD + text, 'x'), node);
}

test('a complete configuration has none', () => {
  expect(warnings('clusterCIDR: 10.0.0.0/8\nnodePortAddresses: [primary]')).toEqual([]);
  expect(warnings('mode: nftables\ndetectLocalMode: NodeCIDR', ['192.0.2.1'], ['10.0.1.0/24'])).toEqual([]);
  expect(
    warnings('mode: nftables\ndetectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}'),
  ).toEqual([]);
});

test.each([
  ['clusterCIDR: 10.0.0.0/8', ['192.0.2.1'], [/^nodePortAddresses is not set/]],
  ['mode: nftables', ['192.0.2.1'], [/ClusterCIDR, but clusterCIDR names no IPv4 network/]],
  ['mode: nftables\nclusterCIDR: 10.0.0.0/8', ['2001:db8::1'], [/clusterCIDR names no IPv6 network/]],
  ['mode: nftables\ndetectLocalMode: NodeCIDR', ['192.0.2.1'], [/spec\.podCIDRs names no IPv4 network/]],
  [
    'clusterCIDR: 10.0.0.0/8\nnodePortAddresses: [192.0.2.0/24]',
    ['192.0.2.1', '2001:db8::1'],
    [/names no IPv6 network: node ports answer on every IPv6 address/],
  ],
  ['clusterCIDR: "fd00::/48"\nbindAddress: "2001:db8::2"\nnodePortAddresses: [primary]', ['192.0.2.1'], []],
])('%j on a node with %j', (text, ips, wanted) => {
  const found = warnings(text, ips);
  expect(found).toHaveLength(wanted.length);
  for (const [index, pattern] of wanted.entries()) expect(found[index]).toMatch(pattern);
});
