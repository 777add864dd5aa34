import { expect, test } from 'vitest';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { Mac } from '../../../net/mac.ts';
import { AllocBackend } from '../../backends/alloc/alloc.ts';
import type { Backend } from '../../backends/backend.ts';
import { HostGwBackend } from '../../backends/hostgw/host-gw.ts';
import { IpipBackend } from '../../backends/ipip/ipip.ts';
import { ipipSchema } from '../../backends/ipip/settings.ts';
import { udpSchema } from '../../backends/udp/settings.ts';
import { UdpBackend } from '../../backends/udp/udp.ts';
import { vxlanSchema } from '../../backends/vxlan/settings.ts';
import { VxlanBackend } from '../../backends/vxlan/vxlan.ts';
import { wireguardSchema } from '../../backends/wireguard/settings.ts';
import { WireguardBackend } from '../../backends/wireguard/wireguard.ts';
import { formatLeaseValue, parseLeaseValue } from './lease-value.ts';

const FAMILIES = {
  4: { podCidr: '10.5.52.0/24', network: '10.5.0.0/16', ip: '192.168.64.3', mac: 'c6:d2:32:6f:8f:44' },
  6: { podCidr: 'fc00:5:0:1::/64', network: 'fc00:5::/48', ip: 'fd00::3', mac: 'c6:d2:32:6f:8f:66' },
};
// Base64 has what Go's encoding/json could have escaped: + / =, none of which it does.
const KEY = 'yIB+/7Yx5L0sYV1BTnwdpcNVZMyKBpuqXQxzEk8JmEo=';

/** As a node with this backend and an address of each family writes it. */
function written(backend: Backend, families: readonly IpFamily[]): string {
  const data = families.map((family): [IpFamily, unknown] => {
    const { podCidr, network, ip, mac } = FAMILIES[family];
    const local = { podCidr: Cidr.parse(podCidr), network: Cidr.parse(network), ip: Ip.parse(ip) };
    return [family, backend.data({ ...local, vtepMac: Mac.parse(mac) }, family)];
  });
  return formatLeaseValue({
    offers: [{ type: backend.type, data: new Map(data) }],
    publicIps: new Map(families.map((family) => [family, Ip.parse(FAMILIES[family].ip)])),
  });
}

const vxlan = new VxlanBackend(vxlanSchema.parse({ Type: 'vxlan' }), '6.1.0');
const wireguard = new WireguardBackend(wireguardSchema.parse({ Type: 'wireguard' }), KEY);

// What encoding/json makes of flannel's LeaseAttrs: PublicIP and PublicIPv6 always, the rest only when it is set.
test.each<[string, Backend, readonly IpFamily[], string]>([
  [
    'vxlan',
    vxlan,
    [4],
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
  ],
  [
    'vxlan, two families',
    vxlan,
    [4, 6],
    '{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:66"}}',
  ],
  [
    'vxlan, IPv6 alone',
    vxlan,
    [6],
    '{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:66"}}',
  ],
  [
    'wireguard',
    wireguard,
    [4],
    `{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"wireguard","BackendData":{"PublicKey":"${KEY}","Port":51820}}`,
  ],
  [
    'wireguard, two families',
    wireguard,
    [4, 6],
    `{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"wireguard","BackendData":{"PublicKey":"${KEY}","Port":51820},"BackendV6Data":{"PublicKey":"${KEY}","Port":51821}}`,
  ],
  [
    'host-gw',
    new HostGwBackend(),
    [4],
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}',
  ],
  [
    'ipip',
    new IpipBackend(ipipSchema.parse({ Type: 'ipip' })),
    [4],
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"ipip"}',
  ],
  [
    'udp',
    new UdpBackend(udpSchema.parse({ Type: 'udp' })),
    [4],
    '{"PublicIP":"192.168.64.3","PublicIPv6":null}',
  ],
  ['alloc', new AllocBackend(), [4], '{"PublicIP":"192.168.64.3","PublicIPv6":null}'],
])(
  "%s: what a node of it writes is flannel's, byte for byte, and is read again",
  (_, backend, families, text) => {
    expect(written(backend, families)).toBe(text);
    const unnamed = backend.type === 'alloc' ? 'alloc' : 'udp';
    const { offers, publicIps } = parseLeaseValue('/k', text, unnamed);
    expect(offers.map(({ type }) => type)).toEqual([backend.type]);
    expect(backend.accepts(offers[0])).toBe(true);
    expect([...publicIps.keys()]).toEqual(families);
    expect(formatLeaseValue({ offers, publicIps })).toBe(text);
  },
);

// Formats that flannel has written formerly.
test.each([
  ['vxlan without VNI', vxlan, '"BackendType":"vxlan","BackendData":{"VtepMAC":"c6:d2:32:6f:8f:44"}'],
  ['wireguard without Port', wireguard, `"BackendType":"wireguard","BackendData":{"PublicKey":"${KEY}"}`],
])('%s is understood', (_, backend, fields) => {
  const { offers, publicIps } = parseLeaseValue('/k', `{"PublicIP":"192.168.64.3",${fields}}`, 'udp');
  expect(backend.accepts(offers[0])).toBe(true);
  expect(publicIps.get(4)?.toString()).toBe('192.168.64.3');
});
