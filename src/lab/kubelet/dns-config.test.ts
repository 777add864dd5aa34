import { describe, expect, test } from 'vitest';
import { podResolvConf } from './dns-config.ts';
import { podHostsFile } from './hosts-file.ts';

const FACTS = {
  clusterDns: ['10.96.0.10'],
  clusterDomain: 'cluster.local',
  nodeResolvConf: 'nameserver 192.0.2.1\nsearch example.org\noptions edns0 timeout:1\n',
};
const spec = (rest: object) => ({ containers: [], ...rest });

describe('podResolvConf', () => {
  test('ClusterFirst searches the pod its namespace first, then the node domains', () => {
    expect(podResolvConf(spec({}), 'shop', FACTS)).toBe(
      'search shop.svc.cluster.local svc.cluster.local cluster.local example.org\nnameserver 10.96.0.10\noptions ndots:5\n',
    );
  });

  test('a pod on the host network uses the node resolver unless it says ClusterFirstWithHostNet', () => {
    expect(podResolvConf(spec({ hostNetwork: true }), 'shop', FACTS)).toContain('nameserver 192.0.2.1');
    const asked = spec({ hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' });
    expect(podResolvConf(asked, 'shop', FACTS)).toContain('nameserver 10.96.0.10');
  });

  test('None takes dnsConfig alone; options of dnsConfig win', () => {
    const dnsConfig = {
      nameservers: ['1.1.1.1'],
      searches: ['a.b'],
      options: [{ name: 'ndots', value: '2' }, { name: 'rotate' }],
    };
    expect(podResolvConf(spec({ dnsPolicy: 'None', dnsConfig }), 'x', FACTS)).toBe(
      'search a.b\nnameserver 1.1.1.1\noptions ndots:2 rotate\n',
    );
    expect(
      podResolvConf(spec({ dnsConfig: { options: [{ name: 'ndots', value: '1' }] } }), 'x', FACTS),
    ).toContain('options ndots:1\n');
  });
});

test('hosts file names every address of the pod and its aliases', () => {
  const text = podHostsFile({
    hostname: 'web-0',
    domainName: 'web-0.web.default.svc.cluster.local',
    addresses: ['10.244.1.2', 'fd00::2'],
    aliases: [{ ip: '127.0.0.2', hostnames: ['foo.local', 'bar.local'] }],
  });
  expect(text).toContain('10.244.1.2\tweb-0.web.default.svc.cluster.local\tweb-0\n');
  expect(text).toContain('fd00::2\tweb-0.web.default.svc.cluster.local\tweb-0\n');
  expect(text).toContain('127.0.0.2\tfoo.local\tbar.local\n');
});
