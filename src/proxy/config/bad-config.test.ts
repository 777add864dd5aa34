import { expect, test } from 'vitest';
import { parseKubeProxyConfig } from './parse.ts';

const HEAD = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';

/** Text after the head, and what the message says of it: field, value, what to do. */
const BAD: readonly (readonly [string, ...string[]])[] = [
  ['mod: iptables', 'mod: unknown field', 'did you mean mode?'],
  ['masqueradeAll: true', 'unknown field', 'iptables.masqueradeAll or nftables.masqueradeAll'],
  ['iptables: {masqueradebit: 1}', 'iptables.masqueradebit: unknown field', 'iptables.masqueradeBit'],
  ['ipvs: {masqueradeAll: true}', 'ipvs.masqueradeAll: unknown field', 'did you mean'],
  [
    'conntrack: {tcpEstablishedTimout: 1h}',
    'conntrack.tcpEstablishedTimout',
    'conntrack.tcpEstablishedTimeout',
  ],
  ['zzz: 1', 'zzz: unknown field'],
  ['mode: ebpf', 'mode: "ebpf" is not one of userspace, iptables, ipvs, nftables'],
  ['mode: IPTables', 'mode: "IPTables"', 'iptables'],
  ['mode: kernelspace', 'mode: "kernelspace"', 'Windows'],
  ['mode: 4', 'mode: must be a text'],
  ['bindAddress: 10.0.0.1:80', 'bindAddress: "10.0.0.1:80" is not an IP address', 'like 192.0.2.1'],
  ['bindAddress: node-a', 'bindAddress: "node-a" is not an IP address'],
  ['healthzBindAddress: 0.0.0.0:0', 'healthzBindAddress: "0.0.0.0:0"', 'like 0.0.0.0:10256'],
  ['healthzBindAddress: localhost:10256', 'healthzBindAddress: "localhost:10256"'],
  ['metricsBindAddress: ":10249"', 'metricsBindAddress: ":10249"', 'like 0.0.0.0:10249'],
  ['metricsBindAddress: 0.0.0.0:65536', 'metricsBindAddress: "0.0.0.0:65536"'],
  ['metricsBindAddress: 10249', 'metricsBindAddress: must be a text'],
  ['iptables: {masqueradeBit: 32}', 'iptables.masqueradeBit: must be a whole number from 0 to 31'],
  ['nftables: {masqueradeBit: -1}', 'nftables.masqueradeBit: must be a whole number from 0 to 31'],
  ['iptables: {masqueradeBit: 1.5}', 'iptables.masqueradeBit: must be a whole number'],
  ['iptables: {masqueradeBit: "14"}', 'iptables.masqueradeBit: must be a whole number'],
  ['iptables: {masqueradeAll: "true"}', 'iptables.masqueradeAll: must be true or false'],
  ['iptables: {syncPeriod: 30}', 'iptables.syncPeriod: must be a duration between quotes, like "30s"'],
  ['iptables: {syncPeriod: 30 s}', 'iptables.syncPeriod: "30 s" is not a duration', 'like 30s'],
  ['iptables: {syncPeriod: -1s}', 'iptables.syncPeriod: "-1s" must not be negative'],
  [
    'iptables: {syncPeriod: 1s, minSyncPeriod: 5s}',
    'iptables.syncPeriod: "1s" must be at least iptables.minSyncPeriod, 5s',
  ],
  [
    'mode: ipvs\nipvs: {minSyncPeriod: 1m}',
    'ipvs.syncPeriod: "30s" must be at least ipvs.minSyncPeriod, 1m0s',
  ],
  ['mode: nftables\nnftables: {minSyncPeriod: 1m}', 'nftables.syncPeriod: "30s" must be at least'],
  ['iptables: []', 'iptables: must be an object with fields'],
  ['iptables: 14', 'iptables: must be an object with fields'],
  ['ipvs: {scheduler: roundrobin}', 'ipvs.scheduler: "roundrobin" is not one of rr, wrr'],
  [
    'ipvs: {excludeCIDRs: [10.0.0.0]}',
    'ipvs.excludeCIDRs[0]: "10.0.0.0" is not a network',
    'like 10.244.0.0/16',
  ],
  ['ipvs: {excludeCIDRs: 10.0.0.0/8}', 'ipvs.excludeCIDRs: must be a list of networks'],
  ['ipvs: {tcpTimeout: -5s}', 'ipvs.tcpTimeout: "-5s" must not be negative'],
  ['detectLocalMode: clusterCIDR', 'detectLocalMode: "clusterCIDR" is not one of ClusterCIDR, NodeCIDR'],
  ['detectLocalMode: BridgeInterface', 'detectLocal.bridgeInterface: must name the bridge'],
  [
    'detectLocalMode: InterfaceNamePrefix',
    "detectLocal.interfaceNamePrefix: must be how the names of pods' interfaces begin",
  ],
  [
    'detectLocal: {bridgeInterface: "a b"}',
    'detectLocal.bridgeInterface: "a b" is not the name of a network interface',
  ],
  [
    'detectLocal: {interfaceNamePrefix: this-is-too-long-for-it}',
    'detectLocal.interfaceNamePrefix',
    'at most 15',
  ],
  [
    'clusterCIDR: 10.244.0.0',
    'clusterCIDR: "10.244.0.0" is not a network in CIDR notation',
    'like 10.244.0.0/16',
  ],
  [
    'clusterCIDR: 10.1.0.0/16,10.2.0.0/16',
    'clusterCIDR: "10.1.0.0/16,10.2.0.0/16" must be one network, or an IPv4 and an IPv6',
  ],
  ['clusterCIDR: 10.1.0.0/16,fd00::/48,10.2.0.0/16', 'clusterCIDR', 'must be one network'],
  ['clusterCIDR: [10.1.0.0/16]', 'clusterCIDR: must be a text'],
  ['nodePortAddresses: primary', 'nodePortAddresses: must be a list, like ["10.0.0.0/8"] or ["primary"]'],
  ['nodePortAddresses: [primary, 10.0.0.0/8]', 'nodePortAddresses: "primary" must stand alone'],
  ['nodePortAddresses: [10.0.0.1/33]', 'nodePortAddresses: "10.0.0.1/33" is not a network'],
  ['oomScoreAdj: 1001', 'oomScoreAdj: must be a whole number from -1000 to 1000'],
  ['conntrack: {maxPerCore: -1}', 'conntrack.maxPerCore: must be a whole number from 0'],
  ['conntrack: {min: 5000000000}', 'conntrack.min: must be a whole number from 0 to 2147483647'],
  ['conntrack: {udpTimeout: forever}', 'conntrack.udpTimeout: "forever" is not a duration'],
  ['configSyncPeriod: -1s', 'configSyncPeriod: "-1s" must not be negative'],
  ['clientConnection: {qps: fast}', 'clientConnection.qps: must be a number'],
  ['clientConnection: {burst: -1}', 'clientConnection.burst: must be a whole number from 0'],
  ['featureGates: {A: maybe}', 'featureGates.A: must be true or false'],
  ['featureGates: A=true', 'featureGates: must be names with true or false'],
  ['logging: {format: xml}', 'logging.format: "xml" is not one of text, json'],
  ['logging: {verbosity: -1}', 'logging.verbosity: must be a whole number from 0'],
  ['portRange: "99999"', 'portRange: "99999" is not a range of ports', 'like 30000-32767'],
  ['portRange: 2000-1000', 'portRange: "2000-1000" is not a range of ports'],
  ['iptables: {masqueradeAll: true}\niptables: {}', 'keys must be unique'],
  ['---\nkind: Other', 'holds several documents; put each into a file of its own'],
  ['mode: *nothing', 'nothing'],
  ['mode: "unclosed', 'quote'],
];

test.each(BAD)('%s', (text, ...parts) => {
  const parse = (): unknown => parseKubeProxyConfig(`${HEAD}${text}\n`, '/etc/proxy.conf');
  expect(parse).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  expect(parse).toThrow(/^\/etc\/proxy\.conf: ./);
  for (const part of parts) expect(parse).toThrow(part);
});

test.each([
  ['', 'is empty'],
  ['- a\n', 'must be an object'],
  ['mode: iptables\n', 'apiVersion: is missing; it must be kubeproxy.config.k8s.io/v1alpha1'],
  ['apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: Pod\n', 'kind: "Pod" must be KubeProxyConfiguration'],
  [
    'apiVersion: componentconfig/v1alpha1\nkind: KubeProxyConfiguration\n',
    'apiVersion: "componentconfig/v1alpha1" must be',
  ],
  [
    'apiVersion: kubeproxy.config.k8s.io/v1alpha2\nkind: KubeProxyConfiguration\n',
    'apiVersion: "kubeproxy.config.k8s.io/v1alpha2"',
  ],
])('%j is refused as what it is', (text, message) => {
  expect(() => parseKubeProxyConfig(text, 'f')).toThrow(message);
});

test('the ConfigMap around the file is told from the file', () => {
  const text = 'apiVersion: v1\nkind: ConfigMap\ndata: {config.conf: ""}\n';
  expect(() => parseKubeProxyConfig(text, 'f')).toThrow(
    expect.objectContaining({ hint: expect.stringContaining('config.conf') as unknown }),
  );
});

test('everything that is wrong is told at once', () => {
  expect(() => parseKubeProxyConfig(`${HEAD}mode: x\nzzz: 1\noomScoreAdj: 5000\n`, 'f')).toThrow(
    /mode: "x".*oomScoreAdj: .*zzz: unknown field/,
  );
});

test('what is nested without end is refused before it is parsed', () => {
  const deep = [
    `a: ${'['.repeat(200_000)}`,
    `a: ${'{b: '.repeat(2000)}1${'}'.repeat(2000)}`,
    `a:\n${'- '.repeat(20_000)}1`,
    Array.from({ length: 300 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
  ];
  for (const text of deep) {
    expect(() => parseKubeProxyConfig(HEAD + text, 'x')).toThrow('is nested deeper than any configuration');
  }
});
