import { expect, test } from 'vitest';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { answer } from './answer.ts';
import { RecordType, type ResourceRecord } from './record.ts';
import { service, slice, viewOf } from './zone-fixture.ts';
import { projectEndpointSlice } from './zone-objects.ts';
import type { ZoneView } from './zone-view.ts';

// The examples of the Kubernetes DNS specification 1.1.0, and the cases of CoreDNS's own tests.
const HTTPS = { name: 'https', protocol: 'TCP', port: 443 };
const objects = {
  namespaces: ['default', 'empty', 'kube-system'],
  services: [
    service('default', 'kubernetes', { clusterIP: '10.3.0.1', clusterIPs: ['10.3.0.1'], ports: [HTTPS] }),
    service('default', 'dual', {
      clusterIPs: ['10.3.0.2', 'fd00:10:96::2'],
      ports: [
        { name: 'dns', protocol: 'UDP', port: 53 },
        { name: 'dns-tcp', protocol: 'TCP', port: 53 },
        { protocol: 'TCP', port: 9153 },
      ],
    }),
    service('default', 'headless', { clusterIP: 'None', clusterIPs: ['None'], ports: [HTTPS] }),
    service('default', 'sleepy', { clusterIP: 'None', clusterIPs: ['None'], ports: [HTTPS] }),
    service('default', 'eager', { clusterIP: 'None', publishNotReadyAddresses: true }),
    service('default', 'six', { clusterIP: 'None', ports: [HTTPS] }),
    service('default', 'foo', { type: 'ExternalName', externalName: 'www.example.com' }),
    service('default', 'inner', {
      type: 'ExternalName',
      externalName: 'kubernetes.default.svc.cluster.local.',
    }),
    service('default', 'gone', { type: 'ExternalName', externalName: 'nothing.default.svc.cluster.local' }),
    service('default', 'ring', { type: 'ExternalName', externalName: 'ring.default.svc.cluster.local' }),
    service('default', 'address', { type: 'ExternalName', externalName: '192.0.2.1' }),
    service('kube-system', 'kube-dns', { clusterIPs: ['10.3.0.10'], ports: [] }),
  ],
  slices: [
    slice(
      'default',
      'headless',
      [
        { addresses: ['10.3.0.100'], hostname: 'my-pet' },
        { addresses: ['10.3.0.101'], hostname: 'My-Pet-2', conditions: { ready: true } },
        { addresses: ['10.3.0.102'], conditions: {} },
        { addresses: ['10.3.0.103'], conditions: { ready: false } },
      ],
      [{ name: 'https', protocol: 'TCP', port: 8443 }],
    ),
    slice('default', 'sleepy', [{ addresses: ['10.3.0.104'], conditions: { ready: false } }], [HTTPS]),
    slice('default', 'eager', [{ addresses: ['10.3.0.105'], hostname: 'a', conditions: { ready: false } }]),
    slice('default', 'six', [{ addresses: ['fd00:10:244::7'] }], [HTTPS]),
    slice('default', 'kubernetes', [{ addresses: ['172.16.0.1'] }], [HTTPS]),
    slice('kube-system', 'kube-dns', [{ addresses: ['10.244.0.53'] }]),
  ],
};
const view = viewOf(objects, { ownAddresses: () => [Ip.parse('10.244.0.53')] });

type TypeName = keyof typeof RecordType | 'MX';

function ask(name: string, type: TypeName, of: ZoneView = view): string[] {
  const number = type === 'MX' ? 15 : RecordType[type];
  const verdict = answer({ labels: name.toLowerCase().split('.'), type: number }, of);
  if (verdict.kind === 'forward') return ['forward'];
  const { rcode, answers, authorities } = verdict.response;
  const lines = answers.map(show).sort();
  if (verdict.kind === 'chase') return [...lines, `ask upstream for ${verdict.target}`];
  if (rcode === 3) return [...lines, 'NXDOMAIN', ...authorities.map(show)];
  if (rcode !== 0) return [`rcode ${rcode}`];
  return authorities.length > 0 ? [...lines, 'NODATA', ...authorities.map(show)] : lines;
}

function show(record: ResourceRecord): string {
  const head = `${record.name} ${record.ttl} ${record.type}`;
  switch (record.type) {
    case 'A':
    case 'AAAA':
      return `${head} ${record.address.toString()}`;
    case 'SRV':
      return `${head} ${record.priority} ${record.weight} ${record.port} ${record.target}`;
    case 'TXT':
      return `${head} ${record.texts.join()}`;
    case 'SOA':
      return `${head} ${record.serial} ${record.minimum}`;
    case 'CNAME':
    case 'PTR':
    case 'NS':
      return `${head} ${record.target}`;
    default:
      return record satisfies never;
  }
}

const SOA = 'cluster.local 30 SOA 1700000000 30';
const NODATA = ['NODATA', SOA];
const NXDOMAIN = ['NXDOMAIN', SOA];
const SVC = 'svc.cluster.local';

test.each<[string, TypeName, string[]]>([
  ['dns-version.cluster.local', 'TXT', ['dns-version.cluster.local 28800 TXT 1.1.0']],
  ['dns-version.cluster.local', 'A', NODATA],
  [`kubernetes.default.${SVC}`, 'A', [`kubernetes.default.${SVC} 30 A 10.3.0.1`]],
  [`KuberNETES.Default.${SVC}`, 'A', [`kubernetes.default.${SVC} 30 A 10.3.0.1`]],
  [`kubernetes.default.${SVC}`, 'AAAA', NODATA],
  [`kubernetes.default.${SVC}`, 'MX', NODATA],
  [`kubernetes.default.${SVC}`, 'ANY', [`kubernetes.default.${SVC} 30 A 10.3.0.1`]],
  [`dual.default.${SVC}`, 'AAAA', [`dual.default.${SVC} 30 AAAA fd00:10:96::2`]],
  [
    `_https._tcp.kubernetes.default.${SVC}`,
    'SRV',
    [`_https._tcp.kubernetes.default.${SVC} 30 SRV 0 100 443 kubernetes.default.${SVC}`],
  ],
  [`_tcp.kubernetes.default.${SVC}`, 'A', NODATA],
  [`_udp.kubernetes.default.${SVC}`, 'A', NXDOMAIN],
  [`_http._tcp.kubernetes.default.${SVC}`, 'SRV', NXDOMAIN],
  [`_https._udp.kubernetes.default.${SVC}`, 'SRV', NXDOMAIN],
  [`_https._tcp.kubernetes.default.${SVC}`, 'A', NODATA],
  [
    `_dns._udp.dual.default.${SVC}`,
    'SRV',
    [`_dns._udp.dual.default.${SVC} 30 SRV 0 100 53 dual.default.${SVC}`],
  ],
  [`_._tcp.dual.default.${SVC}`, 'SRV', NXDOMAIN],
  // One number for two protocols is one record.
  [
    `dual.default.${SVC}`,
    'SRV',
    [
      `dual.default.${SVC} 30 SRV 0 50 53 dual.default.${SVC}`,
      `dual.default.${SVC} 30 SRV 0 50 9153 dual.default.${SVC}`,
    ],
  ],
  ['1.0.3.10.in-addr.arpa', 'PTR', [`1.0.3.10.in-addr.arpa 30 PTR kubernetes.default.${SVC}`]],
  [
    `headless.default.${SVC}`,
    'A',
    ['10.3.0.100', '10.3.0.101', '10.3.0.102'].map((ip) => `headless.default.${SVC} 30 A ${ip}`),
  ],
  [`headless.default.${SVC}`, 'AAAA', NODATA],
  [`my-pet.headless.default.${SVC}`, 'A', [`my-pet.headless.default.${SVC} 30 A 10.3.0.100`]],
  [`my-pet-2.headless.default.${SVC}`, 'A', [`my-pet-2.headless.default.${SVC} 30 A 10.3.0.101`]],
  [`10-3-0-102.headless.default.${SVC}`, 'A', [`10-3-0-102.headless.default.${SVC} 30 A 10.3.0.102`]],
  [`10-3-0-103.headless.default.${SVC}`, 'A', NXDOMAIN],
  [`10-3-0-100.headless.default.${SVC}`, 'A', NXDOMAIN],
  [`a.my-pet.headless.default.${SVC}`, 'A', NXDOMAIN],
  [
    `_https._tcp.headless.default.${SVC}`,
    'SRV',
    ['10-3-0-102', 'my-pet-2', 'my-pet'].map(
      (host) => `_https._tcp.headless.default.${SVC} 30 SRV 0 33 8443 ${host}.headless.default.${SVC}`,
    ),
  ],
  ['100.0.3.10.in-addr.arpa', 'PTR', [`100.0.3.10.in-addr.arpa 30 PTR my-pet.headless.default.${SVC}`]],
  ['103.0.3.10.in-addr.arpa', 'PTR', ['forward']],
  [`sleepy.default.${SVC}`, 'A', NXDOMAIN],
  [`eager.default.${SVC}`, 'A', [`eager.default.${SVC} 30 A 10.3.0.105`]],
  [`a.eager.default.${SVC}`, 'A', [`a.eager.default.${SVC} 30 A 10.3.0.105`]],
  [`six.default.${SVC}`, 'AAAA', [`six.default.${SVC} 30 AAAA fd00:10:244::7`]],
  [`six.default.${SVC}`, 'A', NODATA],
  [`fd00-10-244--7.six.default.${SVC}`, 'AAAA', [`fd00-10-244--7.six.default.${SVC} 30 AAAA fd00:10:244::7`]],
  [
    '7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa',
    'PTR',
    [
      `7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa 30 PTR fd00-10-244--7.six.default.${SVC}`,
    ],
  ],
  [`172-16-0-1.kubernetes.default.${SVC}`, 'A', [`172-16-0-1.kubernetes.default.${SVC} 30 A 172.16.0.1`]],
  [`foo.default.${SVC}`, 'CNAME', [`foo.default.${SVC} 30 CNAME www.example.com`]],
  [
    `foo.default.${SVC}`,
    'A',
    [`foo.default.${SVC} 30 CNAME www.example.com`, 'ask upstream for www.example.com'],
  ],
  [`x.foo.default.${SVC}`, 'A', NXDOMAIN],
  [
    `inner.default.${SVC}`,
    'A',
    [`inner.default.${SVC} 30 CNAME kubernetes.default.${SVC}`, `kubernetes.default.${SVC} 30 A 10.3.0.1`],
  ],
  [`gone.default.${SVC}`, 'A', [`gone.default.${SVC} 30 CNAME nothing.default.${SVC}`, ...NXDOMAIN]],
  [`ring.default.${SVC}`, 'A', ['rcode 2']],
  [`address.default.${SVC}`, 'A', NXDOMAIN],
  ['1-2-3-4.default.pod.cluster.local', 'A', ['1-2-3-4.default.pod.cluster.local 30 A 1.2.3.4']],
  ['1-2-3-4.default.pod.cluster.local', 'AAAA', NODATA],
  ['fd00--7.default.pod.cluster.local', 'AAAA', ['fd00--7.default.pod.cluster.local 30 AAAA fd00::7']],
  ['1-2-3-400.default.pod.cluster.local', 'A', NXDOMAIN],
  ['1-2-3-4.nowhere.pod.cluster.local', 'A', NXDOMAIN],
  ['x.1-2-3-4.default.pod.cluster.local', 'A', NXDOMAIN],
  ['default.pod.cluster.local', 'A', NODATA],
  [`empty.${SVC}`, 'A', NODATA],
  [`nowhere.${SVC}`, 'A', NXDOMAIN],
  [SVC, 'A', NODATA],
  ['cluster.local', 'A', NODATA],
  ['cluster.local', 'SOA', [SOA]],
  ['cluster.local', 'NS', ['cluster.local 30 NS ns.dns.cluster.local']],
  ['ns.dns.cluster.local', 'A', ['ns.dns.cluster.local 30 A 10.3.0.10']],
  ['dns.cluster.local', 'A', NODATA],
  ['foo.cluster.local', 'A', NXDOMAIN],
  [`nothing.default.${SVC}`, 'A', NXDOMAIN],
  [`kubernetes.default.${SVC}.default.${SVC}`, 'A', NXDOMAIN],
  [`default/kubernetes.${SVC}`, 'A', NXDOMAIN],
  ['www.example.com', 'A', ['forward']],
  ['notcluster.local', 'A', ['forward']],
  ['local', 'A', ['forward']],
  ['', 'NS', ['forward']],
  ['9.9.9.9.in-addr.arpa', 'PTR', ['forward']],
  ['3.10.in-addr.arpa', 'PTR', ['forward']],
])('%s %s', (name, type, expected) => {
  expect(ask(name, type)).toEqual(expected);
});

test('SRV and NS bring the addresses they lead to', () => {
  const labels = `_https._tcp.headless.default.${SVC}`.split('.');
  const verdict = answer({ labels, type: RecordType.SRV }, view);
  const extra = verdict.kind === 'respond' ? verdict.response.additionals.map(show).sort() : [];
  expect(extra).toEqual([
    `10-3-0-102.headless.default.${SVC} 30 A 10.3.0.102`,
    `my-pet-2.headless.default.${SVC} 30 A 10.3.0.101`,
    `my-pet.headless.default.${SVC} 30 A 10.3.0.100`,
  ]);
});

test('reverse lookups inside of the given networks never leave the cluster', () => {
  const own = viewOf(objects, {
    reverseNetworks: [Cidr.parse('10.3.0.0/16'), Cidr.parse('fd00:10:96::/112')],
  });
  expect(ask('9.9.3.10.in-addr.arpa', 'PTR', own)).toEqual([
    'NXDOMAIN',
    '3.10.in-addr.arpa 30 SOA 1700000000 30',
  ]);
  expect(ask('1.0.3.10.in-addr.arpa', 'A', own)[0]).toBe('NODATA');
  expect(ask('9.9.4.10.in-addr.arpa', 'PTR', own)).toEqual(['forward']);
});

test('an update takes back what it replaces', () => {
  const changing = viewOf(objects);
  const moved = slice('default', 'headless', [{ addresses: ['10.3.0.200'] }]);
  changing.setEndpointSlice('default/headless-x', projectEndpointSlice(moved));
  expect(ask(`headless.default.${SVC}`, 'A', changing)).toEqual([`headless.default.${SVC} 30 A 10.3.0.200`]);
  expect(ask('100.0.3.10.in-addr.arpa', 'PTR', changing)).toEqual(['forward']);
  changing.removeEndpointSlice('default/headless-x');
  expect(ask(`headless.default.${SVC}`, 'A', changing)).toEqual(NXDOMAIN);
  expect(ask('200.0.3.10.in-addr.arpa', 'PTR', changing)).toEqual(['forward']);
  changing.removeService('default/kubernetes');
  expect(ask(`kubernetes.default.${SVC}`, 'A', changing)).toEqual(NXDOMAIN);
  expect(ask('1.0.3.10.in-addr.arpa', 'PTR', changing)).toEqual(['forward']);
  changing.removeNamespace('empty');
  expect(ask(`empty.${SVC}`, 'A', changing)).toEqual(NXDOMAIN);
});
