import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { defaultKubeProxyConfig, parseKubeProxyConfig } from './parse.ts';
import type { KubeProxyConfig } from './proxy-config.ts';
import { fieldsWithoutEffect } from './without-effect.ts';
import { writeKubeProxyConfig } from './write.ts';

const HEAD = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n';
const HOUR = 3_600_000;

function fixture(name: string): KubeProxyConfig {
  return parseKubeProxyConfig(readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8'), name);
}

const parse = (text: string): KubeProxyConfig => parseKubeProxyConfig(HEAD + text, 'config.conf');

describe('what a file says', () => {
  test('nothing: the defaults of kube-proxy on Linux', () => {
    const config = parse('');
    expect(config).toMatchObject({
      mode: 'iptables',
      detectLocalMode: 'ClusterCIDR',
      nodePortAddresses: 'all',
      oomScoreAdj: -999,
      bindAddressHardFail: false,
      clusterCIDR: [],
      iptables: {
        masqueradeBit: 14,
        masqueradeAll: false,
        localhostNodePorts: true,
        syncPeriod: 30_000,
        minSyncPeriod: 1000,
      },
      ipvs: { scheduler: 'rr', syncPeriod: 30_000, minSyncPeriod: 0, tcpTimeout: 0 },
      nftables: { masqueradeBit: 14, masqueradeAll: false, syncPeriod: 30_000, minSyncPeriod: 0 },
      conntrack: {
        maxPerCore: 32_768,
        min: 131_072,
        tcpEstablishedTimeout: 24 * HOUR,
        tcpCloseWaitTimeout: HOUR,
        tcpBeLiberal: false,
        udpTimeout: 0,
        udpStreamTimeout: 0,
      },
      configSyncPeriod: 900_000,
    });
    expect(JSON.stringify(config.healthzBindAddress)).toBe('{"host":"0.0.0.0","port":10256}');
    expect(JSON.stringify(config.metricsBindAddress)).toBe('{"host":"127.0.0.1","port":10249}');
  });

  test('null and the zero value stand for the default, but an explicit 0 where there is a pointer', () => {
    const config = parse(
      'iptables: {masqueradeBit: 0, localhostNodePorts: false, syncPeriod: 0s}\n' +
        'conntrack: {maxPerCore: 0, min: null, tcpEstablishedTimeout: 0s}\noomScoreAdj: 0\nipvs: null\nmode: null\n',
    );
    expect(config.iptables).toMatchObject({
      masqueradeBit: 0,
      localhostNodePorts: false,
      syncPeriod: 30_000,
    });
    expect(config.conntrack).toMatchObject({ maxPerCore: 0, min: 131_072, tcpEstablishedTimeout: 0 });
    expect(config.oomScoreAdj).toBe(0);
    expect(config.ipvs.scheduler).toBe('rr');
    expect(config.mode).toBe('iptables');
  });

  test('an IPv6 bindAddress moves the default addresses of the servers', () => {
    const config = parse('bindAddress: "2001:db8::1"\n');
    expect(config.healthzBindAddress?.host.toString()).toBe('::');
    expect(config.metricsBindAddress?.host.toString()).toBe('::1');
  });

  test('an address without a port gets the default one', () => {
    const config = parse('healthzBindAddress: 127.0.0.1\nmetricsBindAddress: "::1"\n');
    expect(config.healthzBindAddress).toMatchObject({ port: 10_256 });
    expect(config.metricsBindAddress).toMatchObject({ port: 10_249 });
  });

  test.each([
    ['nftables', 'primary'],
    ['iptables', 'all'],
    ['ipvs', 'all'],
    ['userspace', 'all'],
  ])('in %s mode node ports answer by default on %s', (mode, wanted) => {
    expect(parse(`mode: ${mode}\n`).nodePortAddresses).toBe(wanted);
    expect(String(parse(`mode: ${mode}\nnodePortAddresses: [10.0.0.0/8]\n`).nodePortAddresses)).toBe(
      '10.0.0.0/8',
    );
    expect(parse(`mode: ${mode}\nnodePortAddresses: [primary]\n`).nodePortAddresses).toBe('primary');
  });

  test('YAML as the other components read it: yes and no, JSON, comments, a leading ---', () => {
    const text = `---\n# by hand\n${HEAD}iptables: {"masqueradeAll": yes}\n`;
    expect(parseKubeProxyConfig(text, 'x').iptables.masqueradeAll).toBe(true);
  });

  test('what is written reads as it was', () => {
    const written = fixture('kubeadm-dual-stack-nftables.yaml');
    expect(parseKubeProxyConfig(writeKubeProxyConfig(written), 'x')).toEqual(written);
    const standard = defaultKubeProxyConfig();
    const text = writeKubeProxyConfig(standard);
    expect(parseKubeProxyConfig(text, 'x')).toEqual({
      ...standard,
      bindAddress: expect.anything() as unknown,
    });
    expect(text).toContain('tcpEstablishedTimeout: 24h0m0s');
    expect(text).not.toContain('resourceContainer');
  });
});

describe('files that are about', () => {
  test('kubeadm 1.36: everything is at its default, and nothing is without effect', () => {
    const config = fixture('kubeadm-1.36.yaml');
    const { clientConnection, clusterCIDR, bindAddress } = config;
    expect(String(clusterCIDR)).toBe('10.244.0.0/16');
    expect(clientConnection.kubeconfig).toBe('/var/lib/kube-proxy/kubeconfig.conf');
    const standard = defaultKubeProxyConfig();
    expect({ ...config, clientConnection: { ...clientConnection, kubeconfig: '' } }).toEqual({
      ...standard,
      clusterCIDR,
      bindAddress,
    });
    expect(fieldsWithoutEffect(config)).toEqual([]);
  });

  test.each([
    ['kubeadm-1.20.yaml', 'iptables', []],
    ['kubeadm-1.13.yaml', 'ipvs', ['resourceContainer']],
    ['kubeadm-dual-stack-nftables.yaml', 'nftables', []],
    ['eks.yaml', 'iptables', []],
  ])('%s loads, in %s mode; without effect: %j', (name, mode, withoutEffect) => {
    const config = fixture(name);
    expect(config.mode).toBe(mode);
    expect(fieldsWithoutEffect(config).map(({ field }) => field)).toEqual(withoutEffect);
  });

  test('dual stack with nftables', () => {
    const config = fixture('kubeadm-dual-stack-nftables.yaml');
    expect(config.clusterCIDR.map(String)).toEqual(['10.244.0.0/16', 'fd00:10:244::/56']);
    expect(config.nftables).toMatchObject({ masqueradeAll: true, masqueradeBit: 15, syncPeriod: 60_000 });
  });
});

test('the file of the DaemonSet in deploy loads, and all of it has an effect', () => {
  const path = join(import.meta.dirname, '..', '..', '..', 'deploy', 'flatnet-proxy.yaml');
  const objects = parseAllDocuments(readFileSync(path, 'utf8')).map(
    (document) => document.toJS() as { kind: string; data?: Record<string, string> },
  );
  const text = objects.find(({ kind }) => kind === 'ConfigMap')?.data?.['config.conf'] ?? '';
  const config = parseKubeProxyConfig(text, 'config.conf');
  expect(config.mode).toBe('nftables');
  expect(fieldsWithoutEffect(config)).toEqual([]);
});

test('every field without a meaning here is told of, with the reason', () => {
  const config = parse(
    'featureGates: {TopologyAwareHints: true}\nclientConnection: {qps: 50, burst: 100, contentType: application/json}\n' +
      'enableProfiling: true\nshowHiddenMetricsForVersion: "1.35"\nconfigSyncPeriod: 1m\nwindowsRunAsService: true\n' +
      'winkernel: {networkName: a, sourceVip: 10.0.0.1, enableDSR: true}\nlogging: {format: json, verbosity: 4}\n',
  );
  const told = fieldsWithoutEffect(config);
  expect(told.map(({ field }) => field).sort()).toEqual([
    'clientConnection.burst',
    'clientConnection.contentType',
    'clientConnection.qps',
    'configSyncPeriod',
    'enableProfiling',
    'featureGates',
    'logging.format',
    'showHiddenMetricsForVersion',
    'windowsRunAsService',
    'winkernel.enableDSR',
    'winkernel.networkName',
    'winkernel.sourceVip',
  ]);
  for (const { reason } of told) expect(reason).not.toBe('');
});
