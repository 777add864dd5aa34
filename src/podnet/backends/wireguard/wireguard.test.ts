import { describe, expect, test } from 'vitest';
import { SecretKey } from '../../../kernel/wireguard/key.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { Mac } from '../../../net/mac.ts';
import type { NodeLease } from '../../node-lease.ts';
import { planPeer, podMtu, type LocalNode } from '../backend.ts';
import { formatEntry } from '../entry.ts';
import { wireguardSchema } from './settings.ts';
import { WireguardBackend } from './wireguard.ts';

const vtepMac = Mac.parse('02:00:00:00:00:01');
const OWN = SecretKey.fromBytes(Buffer.alloc(32, 1)).publicKey();
const PEER = SecretKey.fromBytes(Buffer.alloc(32, 2)).publicKey();

function local(families: readonly IpFamily[] = [4, 6], ips = ['172.30.0.1', 'fd00:30::1']): LocalNode {
  const all = [
    { podCidr: '10.244.1.0/24', network: '10.244.0.0/16', ip: ips[0] ?? '' },
    { podCidr: 'fd00:10:244:1::/64', network: 'fd00:10:244::/56', ip: ips[1] ?? '' },
  ];
  return {
    name: 'node-1',
    underlay: { device: 'eth0', mtu: 1500, onLink: [] },
    families: new Map(
      families.map((family) => {
        const { podCidr, network, ip } = all[family === 4 ? 0 : 1] ?? { podCidr: '', network: '', ip: '' };
        return [
          family,
          { podCidr: Cidr.parse(podCidr), network: Cidr.parse(network), ip: Ip.parse(ip), vtepMac },
        ];
      }),
    ),
  };
}

const at = (family: IpFamily): number => (family === 4 ? 0 : 1);

function peer(data: Partial<Record<IpFamily, unknown>>, ips = ['172.30.0.2', 'fd00:30::2']): NodeLease {
  const cidrs = ['10.244.2.0/24', 'fd00:10:244:2::/64'];
  const families = ([4, 6] as const).filter((family) => family in data);
  return {
    node: 'node-2',
    offers: [{ type: 'wireguard', data: new Map(families.map((family) => [family, data[family]])) }],
    families: new Map(
      families.map((family) => [
        family,
        {
          podCidr: Cidr.parse(cidrs[at(family)] ?? ''),
          publicIp: Ip.parse(ips[at(family)] ?? ''),
        },
      ]),
    ),
  };
}

const backend = (config: object = {}): WireguardBackend =>
  new WireguardBackend(wireguardSchema.parse({ Type: 'wireguard', ...config }), OWN);

function plan(of: WireguardBackend, lease: NodeLease, here = local()): string[] {
  const { entries, problems } = planPeer(of, here, lease, lease.offers[0]);
  return [...entries.map(formatEntry), ...problems.map(({ message }) => message)];
}

const both = { 4: { PublicKey: PEER, Port: 51_820 }, 6: { PublicKey: PEER, Port: 51_821 } };

describe('the node itself', () => {
  test("has flannel's two devices, and the cluster's ranges routed there", () => {
    expect(backend().planNode(local()).map(formatEntry)).toEqual([
      `link flannel-wg mtu 1420 type wireguard listen-port 51820 public-key ${OWN}`,
      'address 10.244.1.0/32 dev flannel-wg',
      'route 10.244.0.0/16 dev flannel-wg',
      `link flannel-wg-v6 mtu 1420 type wireguard listen-port 51821 public-key ${OWN}`,
      'address fd00:10:244:1::/128 dev flannel-wg-v6',
      'route fd00:10:244::/56 dev flannel-wg-v6',
    ]);
  });

  test('has one device where the mode is not separate', () => {
    const entries = backend({ Mode: 'auto' }).planNode(local()).map(formatEntry);
    expect(entries.filter((entry) => entry.startsWith('link'))).toEqual([
      `link flannel-wg mtu 1420 type wireguard listen-port 51820 public-key ${OWN}`,
    ]);
    expect(entries).toContain('address fd00:10:244:1::/128 dev flannel-wg');
  });

  test("publishes flannel's data, and leaves pods flannel's MTU", () => {
    const facts = local().families.get(6);
    if (facts === undefined) throw new Error('no IPv6');
    expect(JSON.stringify(backend().data(facts, 6))).toBe(`{"PublicKey":"${OWN}","Port":51821}`);
    expect(JSON.stringify(backend({ Mode: 'ipv4' }).data(facts, 6))).toBe(
      `{"PublicKey":"${OWN}","Port":51820}`,
    );
    expect(podMtu([backend()], local([4]))).toBe(1420);
  });
});

describe('a peer', () => {
  test('is one of each device, with the range of its family', () => {
    expect(plan(backend({ PersistentKeepaliveInterval: 25 }), peer(both))).toEqual([
      `wireguard-peer ${PEER} dev flannel-wg endpoint 172.30.0.2:51820 allowed-ips 10.244.2.0/24 persistent-keepalive 25`,
      'route 10.244.2.0/24 dev flannel-wg',
      `wireguard-peer ${PEER} dev flannel-wg-v6 endpoint [fd00:30::2]:51821 allowed-ips fd00:10:244:2::/64 persistent-keepalive 25`,
      'route fd00:10:244:2::/64 dev flannel-wg-v6',
    ]);
  });

  test('of an older flannel has the port that this node has itself', () => {
    expect(plan(backend({ ListenPort: 4500 }), peer({ 4: { PublicKey: PEER } }))[0]).toContain(
      '172.30.0.2:4500',
    );
    expect(plan(backend(), peer({ 4: { PublicKey: PEER, Port: 0 } }))[0]).toContain('172.30.0.2:51820');
    expect(plan(backend(), peer({ 4: { PublicKey: PEER, Port: 7 } }))[0]).toContain('172.30.0.2:7');
  });

  const global6 = ['172.30.0.2', '2001:db8::2'];
  const globalHere = ['172.30.0.1', '2001:db8::1'];
  test.each<[string, string, string[], string[], string]>([
    ['ipv4', 'over IPv4', ['172.30.0.2', 'fd00:30::2'], ['172.30.0.1', 'fd00:30::1'], '172.30.0.2:51820'],
    ['ipv6', 'over IPv6', ['172.30.0.2', 'fd00:30::2'], ['172.30.0.1', 'fd00:30::1'], '[fd00:30::2]:51820'],
    [
      'auto',
      'privately over IPv4',
      ['172.30.0.2', 'fd00:30::2'],
      ['172.30.0.1', 'fd00:30::1'],
      '172.30.0.2:51820',
    ],
    ['auto', 'over IPv6 where only that is public', global6, globalHere, '[2001:db8::2]:51820'],
    [
      'auto',
      'over IPv4 where we have no public IPv6',
      global6,
      ['172.30.0.1', 'fd00:30::1'],
      '172.30.0.2:51820',
    ],
    ['auto', 'over public IPv4', ['192.0.2.2', '2001:db8::2'], globalHere, '192.0.2.2:51820'],
  ])('in mode %s is reached %s', (Mode, _, there, here, endpoint) => {
    const data = { 4: { PublicKey: PEER, Port: 51_820 }, 6: { PublicKey: PEER, Port: 51_820 } };
    expect(plan(backend({ Mode }), peer(data, there), local([4, 6], here))).toEqual([
      `wireguard-peer ${PEER} dev flannel-wg endpoint ${endpoint} allowed-ips 10.244.2.0/24,fd00:10:244:2::/64`,
      'route 10.244.2.0/24 dev flannel-wg',
      'route fd00:10:244:2::/64 dev flannel-wg',
    ]);
  });

  test.each<[string, object, NodeLease, string]>([
    ['no data', {}, peer({ 4: null }), 'node node-2: its backend data is null, not like'],
    ['a bad key', {}, peer({ 4: { PublicKey: 'x'.repeat(200) } }), 'characters), not like {"PublicKey"'],
    ['a bad port', {}, peer({ 4: { PublicKey: PEER, Port: 70_000 } }), 'Port":70000}, not like'],
    ['our key', {}, peer({ 4: { PublicKey: OWN } }), 'node node-2 has the WireGuard key of this node'],
    [
      'no address of the mode',
      { Mode: 'ipv6' },
      peer({ 4: { PublicKey: PEER } }),
      'node node-2 has no IPv6 address, but this node has network.Backend.Mode ipv6',
    ],
  ])('with %s is reported, and not programmed', (_, config, lease, message) => {
    const shown = plan(backend(config), lease);
    expect(shown).toHaveLength(1);
    expect(shown[0]).toContain(message);
  });
});

describe('settings', () => {
  test('of flannel are taken; its defaults', () => {
    expect(wireguardSchema.parse({ Type: 'wireguard' })).toEqual({
      type: 'wireguard',
      listenPort: 51_820,
      listenPortV6: 51_821,
      presharedKey: undefined,
      keepalive: 0,
      mode: 'separate',
      underlayMtu: undefined,
    });
    const psk = SecretKey.generate();
    const PSK = psk.reveal().toString('base64');
    const { presharedKey } = wireguardSchema.parse({ Type: 'wireguard', PSK, Mode: 'auto', MTU: 1400 });
    expect(presharedKey?.equals(psk)).toBe(true);
  });

  test.each<[object, string]>([
    [{ PSK: 'secret' }, 'PSK'],
    [{ Mode: 'both' }, 'Mode'],
    [{ ListenPort: 0 }, 'ListenPort'],
    [{ PersistentKeepaliveInterval: -1 }, 'PersistentKeepaliveInterval'],
    [{ ListenPort: 51_821 }, 'ListenPortV6'],
    [{ Psk: 'secret' }, ''],
  ])('%j is refused with its field, and no secret is shown', (config, field) => {
    const { error } = wireguardSchema.safeParse({ Type: 'wireguard', ...config });
    expect(error?.issues[0]?.path.join('.')).toBe(field);
    expect(JSON.stringify(error?.issues)).not.toContain('secret');
  });
});
