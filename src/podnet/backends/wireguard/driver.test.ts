import { beforeEach, describe, expect, test } from 'vitest';
import { FakeRouteKernel } from '../../../kernel/netlink/fake.ts';
import { FakeWireguard } from '../../../kernel/wireguard/fake.ts';
import { SecretKey } from '../../../kernel/wireguard/key.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import { formatEntry, type Entry } from '../entry.ts';
import { WireguardDriver } from './driver.ts';

const privateKey = SecretKey.fromBytes(Buffer.alloc(32, 1));
const publicKey = privateKey.publicKey();
const PEER = SecretKey.fromBytes(Buffer.alloc(32, 2)).publicKey();
const NEW_KEY = SecretKey.fromBytes(Buffer.alloc(32, 3)).publicKey();
const HERE = new Set(['flannel-wg']);

const link: Entry = {
  kind: 'link',
  type: 'wireguard',
  device: 'flannel-wg',
  mtu: 1420,
  port: 51_820,
  publicKey,
};
const peer = (changes: object = {}): Entry => ({
  kind: 'wireguard-peer',
  device: 'flannel-wg',
  publicKey: PEER,
  endpoint: Ip.parse('172.30.0.2'),
  port: 51_820,
  allowed: [Cidr.parse('10.244.2.0/24')],
  keepalive: 0,
  ...changes,
});

let route: FakeRouteKernel;
let wireguard: FakeWireguard;
let driver: WireguardDriver;
let now: number;

const start = (presharedKey?: SecretKey): WireguardDriver =>
  new WireguardDriver({ wireguard, route, privateKey, presharedKey, now: () => now });
const observed = (of = driver): string[] => of.observe(HERE).map(formatEntry);

const ranges = () =>
  wireguard.device('flannel-wg')?.peers.map((each) => [each.publicKey, each.allowed.map(String)]);
const index = (): number => route.link('flannel-wg')?.index ?? 0;

beforeEach(() => {
  route = new FakeRouteKernel();
  wireguard = new FakeWireguard(route);
  now = 1_700_000_000_000;
  driver = start();
});

test('what is put is observed, and goes again', () => {
  for (const entry of [link, peer()]) driver.put(entry);
  expect(observed()).toEqual([link, peer()].map(formatEntry));
  driver.remove(peer());
  expect(observed()).toEqual([formatEntry(link)]);
  driver.remove(link);
  driver.remove(link);
  driver.remove(peer());
  expect(observed()).toEqual([]);
});

test('a restart adopts: nothing is configured, also where the peer is at another address meanwhile', () => {
  for (const entry of [link, peer()]) driver.put(entry);
  wireguard.hear('flannel-wg', PEER, { ip: Ip.parse('198.51.100.7'), port: 4000 }, now);
  const again = start();
  expect(observed(again)).not.toEqual([link, peer()].map(formatEntry));
  wireguard.calls.length = 0;
  again.put(peer());
  expect(wireguard.calls).toEqual([]);
  expect(observed(again)).toEqual([link, peer()].map(formatEntry));
});

test('a peer that has moved is left where it is as long as it is heard', () => {
  for (const entry of [link, peer()]) driver.put(entry);
  wireguard.hear('flannel-wg', PEER, { ip: Ip.parse('198.51.100.7'), port: 4000 }, now);
  expect(observed()).toContain(formatEntry(peer()));
  now += 181_000;
  expect(observed()).toContain(formatEntry(peer({ endpoint: Ip.parse('198.51.100.7'), port: 4000 })));
});

test('an endpoint that the node publishes anew is set at once, and nothing besides', () => {
  for (const entry of [link, peer()]) driver.put(entry);
  wireguard.hear('flannel-wg', PEER, { ip: Ip.parse('172.30.0.2'), port: 51_820 }, now);
  observed();
  const moved = peer({ endpoint: Ip.parse('172.30.0.9') });
  driver.put(moved);
  expect(wireguard.device('flannel-wg')?.peers[0]?.endpoint?.ip.toString()).toBe('172.30.0.9');
  expect(observed()).toContain(formatEntry(moved));
});

test('a new key of a node takes its range over before the old one goes', () => {
  for (const entry of [link, peer(), peer({ publicKey: NEW_KEY })]) driver.put(entry);
  expect(ranges()).toEqual([
    [PEER, []],
    [NEW_KEY, ['10.244.2.0/24']],
  ]);
  driver.remove(peer());
  expect(ranges()).toEqual([[NEW_KEY, ['10.244.2.0/24']]]);
});

test('a preshared key that is not there, or another, is put right', () => {
  for (const entry of [link, peer()]) driver.put(entry);
  const psk = SecretKey.generate();
  const withKey = start(psk);
  expect(observed(withKey)).not.toContain(formatEntry(peer()));
  withKey.put(peer());
  expect(wireguard.device('flannel-wg')?.peers[0]?.presharedKey?.equals(psk)).toBe(true);
  expect(observed(withKey)).toContain(formatEntry(peer()));
  const without = start();
  observed(without);
  without.put(peer());
  expect(wireguard.device('flannel-wg')?.peers[0]?.presharedKey).toBeUndefined();
});

describe('the device', () => {
  test.each<[string, () => void]>([
    ['down', () => route.changeLink(index(), { up: false })],
    ['of another MTU', () => route.changeLink(index(), { mtu: 1280 })],
    ['on another port', () => wireguard.configure('flannel-wg', { listenPort: 1 })],
    ['with another key', () => wireguard.configure('flannel-wg', { privateKey: SecretKey.generate() })],
    ['unmarked', () => route.changeLink(index(), { alias: '' })],
  ])('that is %s is put right, and keeps its peers', (_, break_) => {
    for (const entry of [link, peer()]) driver.put(entry);
    break_();
    expect(observed()).not.toContain(formatEntry(link));
    driver.put(link);
    expect(observed()).toEqual([link, peer()].map(formatEntry));
  });

  test('of flannel is taken over', () => {
    wireguard.create('flannel-wg');
    wireguard.configure('flannel-wg', { privateKey, listenPort: 51_820 });
    const before = index();
    driver.put(link);
    expect(index()).toBe(before);
    expect(observed()).toEqual([formatEntry(link)]);
  });

  test('that is gone is made anew, and its peers are not believed to be there', () => {
    for (const entry of [link, peer()]) driver.put(entry);
    route.deleteLink(index());
    expect(observed()).toEqual([]);
    for (const entry of [link, peer()]) driver.put(entry);
    expect(observed()).toEqual([link, peer()].map(formatEntry));
  });

  test("of somebody else's with that name is refused; an orphan of ours is replaced", () => {
    route.addLink({ kind: 'bridge', name: 'flannel-wg' });
    expect(() => driver.put(link)).toThrow('device flannel-wg exists and is not a WireGuard device');
    route.changeLink(index(), { alias: 'flatnet' });
    driver.put(link);
    expect(observed()).toEqual([formatEntry(link)]);
  });

  test('of others is not ours to see', () => {
    wireguard.create('wg0');
    driver.put(link);
    expect(observed()).toEqual([formatEntry(link)]);
  });
});
