import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  addressesOfIp,
  addressToIp,
  fdbOfIp,
  fdbToIp,
  linkOfIp,
  linkToIp,
  neighbourOfIp,
  neighbourToIp,
  routeOfIp,
  routeToIp,
  ruleOfIp,
  ruleToIp,
  sorted,
} from '../../../test/conformance/netlink/ip-words.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { Mac } from '../../net/mac.ts';
import { decodeAddress, encodeAddress, encodeAddressKey } from './address-codec.ts';
import { AF_BRIDGE, RTM } from './constants.ts';
import { decodeLink, encodeBridgePortChange, encodeLinkChange, encodeNewLink } from './link-codec.ts';
import { listAttributes } from './message.ts';
import {
  decodeFdbEntry,
  decodeNeighbour,
  encodeFdbEntry,
  encodeFdbKey,
  encodeNeighbour,
  encodeNeighbourKey,
} from './neighbour-codec.ts';
import { decodeRoute, encodeRoute, encodeRouteKey } from './route-codec.ts';
import { decodeRule, encodeRule } from './rule-codec.ts';

const ip = (text: string): Ip => Ip.parse(text);
const cidr = (text: string): Cidr => Cidr.parse(text);
const mac = (text: string): Mac => Mac.parse(text);

function fixture(name: string): unknown {
  return JSON.parse(readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8'));
}

describe('answers: the kernel’s bytes say what `ip` shows', () => {
  interface Answers {
    readonly messages: readonly string[];
    readonly ip: readonly Record<string, unknown>[];
  }
  const answers = fixture('answers.json') as Record<
    'link' | 'address' | 'route' | 'neighbour' | 'fdb' | 'rule',
    Answers
  >;
  const decoded = <T>(kind: keyof typeof answers, decode: (body: Buffer) => T | undefined): T[] =>
    answers[kind].messages.flatMap((hex) => decode(Buffer.from(hex, 'hex')) ?? []);
  const links = decoded('link', decodeLink);
  const names = (index: number): string | undefined => links.find((link) => link.index === index)?.name;

  test.each([
    ['link', links.map((link) => linkToIp(link, names)), answers.link.ip.map(linkOfIp)],
    [
      'address',
      decoded('address', decodeAddress).map((one) => addressToIp(one, names)),
      answers.address.ip.flatMap(addressesOfIp),
    ],
    [
      'route',
      decoded('route', decodeRoute).map((one) => routeToIp(one, names)),
      answers.route.ip.map(routeOfIp),
    ],
    [
      'neighbour',
      decoded('neighbour', decodeNeighbour).map((one) => neighbourToIp(one, names)),
      answers.neighbour.ip.map(neighbourOfIp),
    ],
    ['fdb', decoded('fdb', decodeFdbEntry).map((one) => fdbToIp(one, names)), answers.fdb.ip.map(fdbOfIp)],
    ['rule', decoded('rule', decodeRule).map(ruleToIp), answers.rule.ip.map(ruleOfIp)],
  ])('%s', (_kind, ours, theirs) => {
    expect(ours.length).toBeGreaterThan(4);
    expect(sorted(ours)).toEqual(sorted(theirs));
  });
});

describe('requests: the bytes are those that `ip` sends for the same wish', () => {
  interface Request {
    readonly command: string;
    readonly type: number;
    readonly body: string;
  }
  const { requests } = fixture('requests.json') as { readonly requests: readonly Request[] };

  // Indexes are those of the capture: v0 4, flannel.1 5, br0 2, v1 8, p0 3.
  const hop = { destination: cidr('10.244.2.0/24'), gateway: ip('10.244.2.0'), link: 5 };
  const peer = { link: 4, ip: ip('10.5.0.1'), prefixLength: 32, peer: ip('10.5.0.2') };
  const entry = { link: 5, mac: mac('02:00:00:00:00:02'), destination: ip('192.0.2.2') };
  const wishes: Readonly<Record<string, Buffer>> = {
    'ip link add flannel.1': encodeNewLink({
      kind: 'vxlan',
      name: 'flannel.1',
      vxlan: { vni: 1, local: ip('192.0.2.1'), parent: 4, port: 8472 },
    }),
    'ip link add cni0': encodeNewLink({
      kind: 'bridge',
      name: 'cni0',
      mtu: 1450,
      mac: mac('0a:58:0a:f4:01:01'),
      bridge: { ageingSeconds: 200, multicastSnooping: false },
    }),
    'ip link add v1': encodeNewLink({
      kind: 'veth',
      name: 'v1',
      mtu: 1450,
      peer: { name: 'p1', mtu: 1450, mac: mac('0a:58:0a:f4:01:07') },
    }),
    'ip link set v0 master': encodeLinkChange(4, { master: 2 }),
    'ip link set v0 nomaster': encodeLinkChange(4, { master: null }),
    'ip link set p0 down': encodeLinkChange(3, { up: false }),
    'ip link set v1 mtu': encodeLinkChange(8, { mtu: 1400, mac: mac('0a:58:0a:f4:01:08') }),
    'ip link set dev v1 alias': encodeLinkChange(8, { alias: 'default/web-0' }),
    'ip link set v1 master': encodeLinkChange(8, { master: 2 }),
    'bridge link set dev v1 hairpin on': encodeBridgePortChange(8, { hairpin: true }),
    'ip addr add 10.244.1.0/32': encodeAddress({ link: 5, ip: ip('10.244.1.0'), prefixLength: 32 }),
    'ip addr add fd01::1/64': encodeAddress({ link: 4, ip: ip('fd01::1'), prefixLength: 64 }),
    'ip addr add 10.5.0.1 peer': encodeAddress(peer),
    'ip addr del 10.5.0.1 peer': encodeAddressKey(peer),
    'ip link set flannel.1 up': encodeLinkChange(5, { up: true }),
    'ip route add 10.244.2.0/24': encodeRoute({ ...hop, onlink: true, protocol: 80 }),
    'ip route replace 10.2.0.0/16': encodeRoute({
      destination: cidr('10.2.0.0/16'),
      gateway: ip('10.1.0.2'),
      metric: 7,
      mtu: 1300,
      protocol: 3,
    }),
    'ip route add blackhole': encodeRoute({
      destination: cidr('10.4.0.0/26'),
      type: 'blackhole',
      protocol: 80,
    }),
    'ip route add 10.6.0.0/16': encodeRoute({ destination: cidr('10.6.0.0/16'), link: 4, table: 1000 }),
    'ip route add default': encodeRoute({
      destination: cidr('0.0.0.0/0'),
      gateway: ip('10.1.0.254'),
      source: ip('10.1.0.1'),
    }),
    'ip route add 10.7.0.0/16': encodeRoute({
      destination: cidr('10.7.0.0/16'),
      nextHops: [{ gateway: ip('10.1.0.2') }, { gateway: ip('10.1.0.3'), weight: 3 }],
    }),
    'ip route add 10.8.0.0/16': encodeRoute({
      destination: cidr('10.8.0.0/16'),
      gateway: ip('fd00::2'),
      link: 4,
    }),
    'ip -6 route add fd02::/64': encodeRoute({
      destination: cidr('fd02::/64'),
      gateway: ip('fd00::2'),
      link: 4,
    }),
    'ip route del': encodeRouteKey({ ...hop, protocol: 80 }),
    'ip neigh replace': encodeNeighbour({
      link: 5,
      ip: ip('10.244.2.0'),
      mac: mac('02:00:00:00:00:02'),
    }),
    'ip neigh add proxy': encodeNeighbour({ link: 4, ip: ip('169.254.1.1'), proxy: true }),
    'ip neigh del': encodeNeighbourKey({ link: 5, ip: ip('10.244.2.0') }),
    'bridge fdb replace': encodeFdbEntry(entry),
    'bridge fdb del': encodeFdbKey(entry),
    'ip rule add pref 100': encodeRule({
      family: 4,
      priority: 100,
      source: cidr('10.244.0.0/16'),
      mark: 0x10,
      mask: 0x10,
      table: 1000,
    }),
    'ip rule add not to': encodeRule({
      family: 4,
      priority: 99,
      invert: true,
      destination: cidr('10.0.0.0/8'),
      inputLink: 'v0',
      table: 254,
      suppressPrefixLength: 0,
    }),
  };

  test.each(requests.map((request) => [request.command, request] as const))('%s', (command, request) => {
    const wish = Object.entries(wishes).filter(([prefix]) => command.startsWith(prefix));
    expect(wish).toHaveLength(1);
    const [, ours = Buffer.alloc(0)] = wish[0] ?? [];
    expect(canonical(request.type, ours)).toEqual(canonical(request.type, Buffer.from(request.body, 'hex')));
  });
});

const HEADER: Readonly<Record<number, number>> = {
  [RTM.NEWLINK]: 16,
  [RTM.SETLINK]: 16,
  [RTM.NEWADDR]: 8,
  [RTM.DELADDR]: 8,
};
/** Nests by their path of attribute types, with the length of the structure that they begin with. */
const NESTS: Readonly<Record<string, number>> = {
  '16/18': 0,
  '16/18/2': 0,
  '16/18/2/1': 16,
  '19/12': 0,
  '24/8': 0,
};
/** Strings: iproute2 leaves the terminating NUL out of some, the kernel takes both. */
const STRINGS = new Set(['16/3', '16/20', '16/18/1', '16/18/2/1/3']);

/** The request as a tree in which the order of attributes and NLA_F_NESTED, free by the format, do not count. */
function canonical(type: number, body: Buffer): unknown {
  const header = HEADER[type] ?? 12;
  const fixed = Buffer.from(body.subarray(0, header));
  const neighbour = type === RTM.NEWNEIGH || type === RTM.DELNEIGH;
  // `bridge` sets NUD_NOARP beside NUD_PERMANENT, and `ip` and `bridge` a state in deletions: without effect.
  if (neighbour) fixed.writeUInt16LE(fixed[0] === AF_BRIDGE && type === RTM.NEWNEIGH ? 0x80 : 0, 8);
  return [fixed.toString('hex'), attributesOf(body, header, String(type))];
}

function attributesOf(data: Buffer, offset: number, path: string): unknown[] {
  return listAttributes(data, offset)
    .map(({ type, value }): [string, unknown] => {
      const here = `${path}/${type}`;
      const isPeer = here === '16/18/2/1' && value.length > 16;
      const nested = NESTS[here];
      if (nested !== undefined && (here !== '16/18/2/1' || isPeer)) {
        return [here, [value.toString('hex', 0, nested), attributesOf(value, nested, here)]];
      }
      return [here, STRINGS.has(here) ? value.toString('utf8').replace(/\0$/, '') : value.toString('hex')];
    })
    .sort(([a], [b]) => a.localeCompare(b));
}
