import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FlatnetError } from '../../../src/errors/flatnet-error.ts';
import type { Link, Route, RouteEvent } from '../../../src/kernel/netlink/objects.ts';
import type { RouteKernel } from '../../../src/kernel/netlink/route-kernel.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip } from '../../../src/net/ip.ts';
import { Mac } from '../../../src/net/mac.ts';

export interface Subject {
  readonly kernel: RouteKernel;
  /** The kernel of a second namespace, and its descriptor. */
  readonly other: RouteKernel;
  readonly otherNetns: number;
  readonly close: () => void;
}

const ip = (text: string): Ip => Ip.parse(text);
const cidr = (text: string): Cidr => Cidr.parse(text);
const mac = (text: string): Mac => Mac.parse(text);

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof FlatnetError) return error.code;
    throw error;
  }
  return 'no error';
}

/** What one line of `ip route` says; without what the kernel adds for IPv6 by itself. */
function lines(routes: readonly Route[]): string[] {
  return routes
    .filter((route) => !/^(fe80|ff00)::/.test(route.destination.toString()))
    .map((route) => {
      const hops = route.nextHops?.map((hop) => `[${hop.gateway?.toString()} ${hop.weight}]`) ?? [];
      const words = [
        route.type,
        route.destination.toString(),
        ...(route.gateway === undefined ? [] : [`via ${route.gateway.toString()}`]),
        ...hops,
        `proto ${route.protocol} scope ${route.scope}`,
        ...(route.source === undefined ? [] : [`src ${route.source.toString()}`]),
        ...(route.metric === undefined ? [] : [`metric ${route.metric}`]),
        ...(route.mtu === undefined ? [] : [`mtu ${route.mtu}`]),
        ...(route.onlink ? ['onlink'] : []),
      ];
      return words.join(' ');
    })
    .sort();
}

function permanent(kernel: RouteKernel, link: number): string[] {
  return kernel
    .neighbours({ link })
    .filter((one) => one.state === 'permanent')
    .map((one) => `${one.ip.toString()} ${one.mac?.toString()}`);
}

function showEvent(event: RouteEvent): string | undefined {
  if (event.kind === 'route' && event.route.protocol === 80) {
    return `route ${event.action} ${event.route.destination.toString()}`;
  }
  return event.kind === 'link' ? `link ${event.action} ${event.link.name}` : undefined;
}

/** What every implementation of `RouteKernel` must do alike. */
export function routeKernelConformance(open: () => Subject): void {
  let subject: Subject;
  let kernel: RouteKernel;

  beforeEach(() => {
    subject = open();
    ({ kernel } = subject);
  });
  afterEach(() => {
    subject.close();
  });

  const addBridge = (name = 'br0'): Link => {
    const link = kernel.addLink({ kind: 'bridge', name, up: true, mac: mac('0a:58:0a:00:00:01') });
    if (link === undefined) throw new Error('no link');
    return link;
  };
  /** A veth that is up at both ends, the peer in the other namespace. */
  const addVeth = (name = 'v0', master?: number): Link => {
    const peer = { name: 'eth0', netns: subject.otherNetns, up: true };
    const link = kernel.addLink({
      kind: 'veth',
      name,
      up: true,
      peer,
      ...(master === undefined ? {} : { master }),
    });
    if (link === undefined) throw new Error('no link');
    return link;
  };
  const addVxlan = (): Link => {
    const link = kernel.addLink({
      kind: 'vxlan',
      name: 'flannel.1',
      mtu: 1450,
      up: true,
      mac: mac('0a:58:0a:00:00:02'),
      vxlan: { vni: 1, port: 8472, local: ip('192.0.2.1') },
    });
    if (link === undefined) throw new Error('no link');
    return link;
  };

  describe('links', () => {
    test('a new namespace has a loopback that is down; switched on, it has its addresses and routes', () => {
      const lo = kernel.links();
      expect(lo.map((link) => [link.index, link.name, link.up, link.loopback])).toEqual([
        [1, 'lo', false, true],
      ]);
      kernel.changeLink(1, { up: true });
      expect(kernel.link('lo')?.up).toBe(true);
      expect(
        kernel.addresses().map((one) => `${one.ip.toString()}/${one.prefixLength} ${one.scope}`),
      ).toEqual(['127.0.0.1/8 254', '::1/128 254']);
      expect(lines(kernel.routes({ table: 255, family: 4 }))).toEqual([
        'broadcast 127.255.255.255/32 proto 2 scope 253 src 127.0.0.1',
        'local 127.0.0.0/8 proto 2 scope 254 src 127.0.0.1',
        'local 127.0.0.1/32 proto 2 scope 254 src 127.0.0.1',
      ]);
    });

    test('a bridge, and a veth that is its port and whose peer is in another namespace', () => {
      const bridge = kernel.addLink({
        kind: 'bridge',
        name: 'cni0',
        mtu: 1450,
        mac: mac('0a:58:0a:f4:01:01'),
        up: true,
        bridge: { ageingSeconds: 200, multicastSnooping: false },
      });
      expect(bridge).toMatchObject({ name: 'cni0', kind: 'bridge', mtu: 1450, up: true });
      expect(kernel.link('cni0')?.operState).toBe('down');
      expect(bridge?.mac?.toString()).toBe('0a:58:0a:f4:01:01');
      expect(bridge?.bridge).toEqual({
        ageingSeconds: 200,
        multicastSnooping: false,
        stp: false,
        vlanFiltering: false,
      });
      kernel.addLink({
        kind: 'veth',
        name: 'veth1',
        mtu: 1450,
        up: true,
        master: bridge?.index ?? 0,
        alias: 'default/web-0',
        peer: {
          name: 'eth0',
          mac: mac('0a:58:0a:f4:01:07'),
          mtu: 1450,
          up: true,
          netns: subject.otherNetns,
        },
      });
      const port = kernel.link('veth1');
      expect(port).toMatchObject({
        kind: 'veth',
        master: bridge?.index,
        alias: 'default/web-0',
        up: true,
        mtu: 1450,
      });
      expect(port?.port).toMatchObject({ hairpin: false, learning: true });
      const peer = subject.other.link('eth0');
      expect(peer).toMatchObject({ kind: 'veth', up: true, operState: 'up', mtu: 1450, parent: port?.index });
      expect(peer?.mac?.toString()).toBe('0a:58:0a:f4:01:07');
    });

    test('flags of a port', () => {
      const port = addVeth('v0', addBridge().index);
      kernel.changeBridgePort(port.index, { hairpin: true, isolated: true });
      expect(kernel.link(port.index)?.port).toMatchObject({ hairpin: true, isolated: true, learning: true });
      kernel.changeBridgePort(port.index, { hairpin: false });
      expect(kernel.link(port.index)?.port).toMatchObject({ hairpin: false, isolated: true });
    });

    test('a VXLAN device as flannel makes it', () => {
      const link = addVxlan();
      expect(link).toMatchObject({ kind: 'vxlan', mtu: 1450, operState: 'unknown' });
      expect(link.vxlan).toMatchObject({ vni: 1, port: 8472, learning: false, gbp: false });
      expect(link.vxlan?.local?.toString()).toBe('192.0.2.1');
      expect(kernel.txChecksumOffload(link.index)).toBe(true);
      kernel.setTxChecksumOffload(link.index, false);
      expect(kernel.txChecksumOffload(link.index)).toBe(false);
      const same = { kind: 'vxlan', name: 'vx2', vxlan: { vni: 1, port: 8472 } } as const;
      expect(codeOf(() => kernel.addLink(same))).toBe('EEXIST');
    });

    test('renaming, moving to another namespace, leaving a bridge', () => {
      const bridge = addBridge();
      const veth = addVeth('v0', bridge.index);
      kernel.changeLink(veth.index, { master: null, mtu: 1400 });
      expect(kernel.link(veth.index)?.master).toBeUndefined();
      expect(kernel.link(veth.index)?.port).toBeUndefined();
      kernel.changeLink(veth.index, { name: 'moved', netns: subject.otherNetns });
      expect(kernel.link(veth.index)).toBeUndefined();
      expect(subject.other.link('moved')).toMatchObject({ up: false, mtu: 1400, kind: 'veth' });
    });

    test('of a veth both ends go', () => {
      const veth = addVeth();
      kernel.deleteLink(veth.index);
      expect(kernel.link('v0')).toBeUndefined();
      expect(subject.other.link('eth0')).toBeUndefined();
      expect(codeOf(() => kernel.deleteLink(veth.index))).toBe('ENODEV');
    });

    test('what is refused', () => {
      const bridge = addBridge();
      expect(codeOf(() => kernel.addLink({ kind: 'bridge', name: 'br0' }))).toBe('EEXIST');
      expect(codeOf(() => kernel.addLink({ kind: 'bridge', name: 'a-name-of-16-byt' }))).toBe('EINVAL');
      expect(codeOf(() => kernel.addLink({ kind: 'bridge', name: 'a/b' }))).toBe('EINVAL');
      expect(codeOf(() => kernel.changeLink(999, { up: true }))).toBe('ENODEV');
      expect(codeOf(() => kernel.changeLink(bridge.index, { name: 'lo' }))).toBe('EEXIST');
      expect(codeOf(() => kernel.changeBridgePort(bridge.index, { hairpin: true }))).toBe('EOPNOTSUPP');
      expect(codeOf(() => kernel.deleteLink(1))).toBe('EOPNOTSUPP');
      expect(codeOf(() => kernel.addLink({ kind: 'veth', name: 'v9', peer: { name: 'br0' } }))).toBe(
        'EEXIST',
      );
      expect(kernel.link('v9')).toBeUndefined();
      expect(kernel.link('nothing')).toBeUndefined();
      expect(kernel.link(4711)).toBeUndefined();
    });
  });

  describe('addresses', () => {
    test('an address brings the routes of its prefix, and takes them along', () => {
      const veth = addVeth();
      kernel.addAddress({ link: veth.index, ip: ip('10.1.0.1'), prefixLength: 24 });
      kernel.addAddress({ link: veth.index, ip: ip('fd00::1'), prefixLength: 64, noDad: true });
      expect(lines(kernel.routes({ table: 254 }))).toEqual([
        'unicast 10.1.0.0/24 proto 2 scope 253 src 10.1.0.1',
        'unicast fd00::/64 proto 2 scope 0 metric 256',
      ]);
      expect(lines(kernel.routes({ table: 255, link: veth.index }))).toContain(
        'broadcast 10.1.0.255/32 proto 2 scope 253 src 10.1.0.1',
      );
      kernel.deleteAddress({ link: veth.index, ip: ip('10.1.0.1'), prefixLength: 24 });
      expect(lines(kernel.routes({ family: 4 }))).toEqual([]);
    });

    test('a host address has a local route only; without prefix route when asked so', () => {
      const veth = addVeth();
      kernel.addAddress({ link: veth.index, ip: ip('10.244.1.0'), prefixLength: 32 });
      kernel.addAddress({ link: veth.index, ip: ip('10.9.0.1'), prefixLength: 24, noPrefixRoute: true });
      expect(lines(kernel.routes({ family: 4, table: 254 }))).toEqual([]);
      expect(lines(kernel.routes({ family: 4, table: 255 }))).toContain(
        'local 10.244.1.0/32 proto 2 scope 254 src 10.244.1.0',
      );
    });

    test('routes go when the link is switched off; IPv4 addresses stay, and bring theirs back', () => {
      const veth = addVeth();
      kernel.addAddress({ link: veth.index, ip: ip('10.1.0.1'), prefixLength: 24 });
      kernel.addRoute({ destination: cidr('10.2.0.0/16'), gateway: ip('10.1.0.2') });
      kernel.changeLink(veth.index, { up: false });
      expect(lines(kernel.routes({ family: 4 }))).toEqual([
        'local 10.1.0.1/32 proto 2 scope 254 src 10.1.0.1',
      ]);
      expect(kernel.addresses({ link: veth.index, family: 4 })).toHaveLength(1);
      kernel.changeLink(veth.index, { up: true });
      expect(lines(kernel.routes({ family: 4, table: 254 }))).toEqual([
        'unicast 10.1.0.0/24 proto 2 scope 253 src 10.1.0.1',
      ]);
    });

    test('of an address of a link that is down only the local route is there', () => {
      const veth = addVeth();
      kernel.changeLink(veth.index, { up: false });
      kernel.addAddress({ link: veth.index, ip: ip('10.1.0.1'), prefixLength: 24 });
      expect(lines(kernel.routes({ family: 4 }))).toEqual([
        'local 10.1.0.1/32 proto 2 scope 254 src 10.1.0.1',
      ]);
    });

    test('what is refused', () => {
      const { index } = addBridge();
      const address = { link: index, ip: ip('10.1.0.1'), prefixLength: 24 };
      kernel.addAddress(address);
      expect(codeOf(() => kernel.addAddress(address))).toBe('EEXIST');
      kernel.replaceAddress(address);
      expect(kernel.addresses({ family: 4 })).toHaveLength(1);
      expect(codeOf(() => kernel.addAddress({ ...address, link: 999 }))).toBe('ENODEV');
      expect(codeOf(() => kernel.deleteAddress({ ...address, ip: ip('10.1.0.9') }))).toBe('EADDRNOTAVAIL');
      expect(codeOf(() => kernel.deleteAddress({ ...address, link: 999 }))).toBe('ENODEV');
    });
  });

  describe('routes', () => {
    let veth: Link;
    beforeEach(() => {
      veth = addVeth();
      kernel.addAddress({ link: veth.index, ip: ip('10.1.0.1'), prefixLength: 24 });
      kernel.addAddress({ link: veth.index, ip: ip('fd00::1'), prefixLength: 64, noDad: true });
    });

    test('by way of a gateway, over a link, to nowhere, with metric, MTU, table and protocol', () => {
      kernel.addRoute({ destination: cidr('10.2.0.0/16'), gateway: ip('10.1.0.2'), protocol: 80 });
      kernel.addRoute({ destination: cidr('10.3.0.0/16'), link: veth.index, metric: 7, mtu: 1300 });
      kernel.addRoute({ destination: cidr('10.4.0.0/26'), type: 'blackhole', protocol: 80 });
      kernel.addRoute({ destination: cidr('0.0.0.0/0'), gateway: ip('10.1.0.254'), source: ip('10.1.0.1') });
      kernel.addRoute({ destination: cidr('10.5.0.0/16'), gateway: ip('fd00::2'), link: veth.index });
      kernel.addRoute({ destination: cidr('fd01::/64'), gateway: ip('fd00::2'), metric: 5 });
      kernel.addRoute({ destination: cidr('10.6.0.0/16'), gateway: ip('10.1.0.2'), table: 1000 });
      expect(lines(kernel.routes({ table: 254 }).filter((route) => route.protocol !== 2))).toEqual([
        'blackhole 10.4.0.0/26 proto 80 scope 0',
        'unicast 0.0.0.0/0 via 10.1.0.254 proto 4 scope 0 src 10.1.0.1',
        'unicast 10.2.0.0/16 via 10.1.0.2 proto 80 scope 0',
        'unicast 10.3.0.0/16 proto 4 scope 253 metric 7 mtu 1300',
        'unicast 10.5.0.0/16 via fd00::2 proto 4 scope 0',
        'unicast fd01::/64 via fd00::2 proto 4 scope 0 metric 5',
      ]);
      expect(lines(kernel.routes({ protocol: 80 }))).toHaveLength(2);
      expect(lines(kernel.routes({ table: 1000 }))).toEqual([
        'unicast 10.6.0.0/16 via 10.1.0.2 proto 4 scope 0',
      ]);
      expect(kernel.routes({ table: 4711 })).toEqual([]);
    });

    test('an onlink gateway need not be in any prefix of the link', () => {
      const route = { destination: cidr('10.244.2.0/24'), gateway: ip('10.244.2.0'), link: veth.index };
      expect(codeOf(() => kernel.addRoute(route))).toBe('ENETUNREACH');
      kernel.addRoute({ ...route, onlink: true });
      expect(lines(kernel.routes({ protocol: 4 }))).toEqual([
        'unicast 10.244.2.0/24 via 10.244.2.0 proto 4 scope 0 onlink',
      ]);
    });

    test('several next hops', () => {
      const nextHops = [{ gateway: ip('10.1.0.2') }, { gateway: ip('10.1.0.3'), weight: 3 }];
      kernel.addRoute({ destination: cidr('10.2.0.0/16'), nextHops });
      expect(lines(kernel.routes({ protocol: 4 }))).toEqual([
        'unicast 10.2.0.0/16 [10.1.0.2 1] [10.1.0.3 3] proto 4 scope 0',
      ]);
    });

    test('replacing happens in place; another metric is another route', () => {
      const destination = cidr('10.2.0.0/16');
      kernel.replaceRoute({ destination, gateway: ip('10.1.0.2') });
      kernel.replaceRoute({ destination, gateway: ip('10.1.0.3') });
      kernel.addRoute({ destination, gateway: ip('10.1.0.4'), metric: 10 });
      expect(lines(kernel.routes({ protocol: 4 }))).toEqual([
        'unicast 10.2.0.0/16 via 10.1.0.3 proto 4 scope 0',
        'unicast 10.2.0.0/16 via 10.1.0.4 proto 4 scope 0 metric 10',
      ]);
      expect(codeOf(() => kernel.addRoute({ destination, gateway: ip('10.1.0.2') }))).toBe('EEXIST');
    });

    test('deleting takes what matches everything that is given', () => {
      const destination = cidr('10.2.0.0/16');
      kernel.addRoute({ destination, gateway: ip('10.1.0.2'), protocol: 80 });
      expect(codeOf(() => kernel.deleteRoute({ destination, gateway: ip('10.1.0.3') }))).toBe('ESRCH');
      expect(codeOf(() => kernel.deleteRoute({ destination, protocol: 17 }))).toBe('ESRCH');
      expect(codeOf(() => kernel.deleteRoute({ destination, table: 1000 }))).toBe('ESRCH');
      kernel.deleteRoute({ destination, gateway: ip('10.1.0.2'), protocol: 80 });
      expect(codeOf(() => kernel.deleteRoute({ destination }))).toBe('ESRCH');
    });

    test('what is refused', () => {
      const destination = cidr('10.2.0.0/16');
      expect(codeOf(() => kernel.addRoute({ destination, gateway: ip('10.99.0.1') }))).toBe('ENETUNREACH');
      expect(codeOf(() => kernel.addRoute({ destination, link: 999 }))).toBe('ENODEV');
      expect(codeOf(() => kernel.addRoute({ destination }))).toBe('ENODEV');
      const source = ip('10.77.0.1');
      expect(codeOf(() => kernel.addRoute({ destination, gateway: ip('10.1.0.2'), source }))).toBe('EINVAL');
      kernel.changeLink(veth.index, { up: false });
      expect(codeOf(() => kernel.addRoute({ destination, link: veth.index }))).toBe('ENETDOWN');
    });

    test('the way that a packet would take', () => {
      kernel.addRoute({ destination: cidr('10.2.0.0/16'), gateway: ip('10.1.0.2') });
      kernel.addRoute({ destination: cidr('10.2.3.0/24'), type: 'unreachable' });
      const route = kernel.routeTo(ip('10.2.9.9'));
      expect(route).toMatchObject({ link: veth.index, type: 'unicast' });
      expect([route.gateway?.toString(), route.source?.toString()]).toEqual(['10.1.0.2', '10.1.0.1']);
      expect(kernel.routeTo(ip('10.1.0.1')).type).toBe('local');
      expect(kernel.routeTo(ip('10.1.0.9')).gateway).toBeUndefined();
      expect(codeOf(() => kernel.routeTo(ip('10.2.3.1')))).toBe('EHOSTUNREACH');
      expect(codeOf(() => kernel.routeTo(ip('203.0.113.1')))).toBe('ENETUNREACH');
      expect(codeOf(() => kernel.routeTo(ip('2001:db8::1')))).toBe('ENETUNREACH');
    });
  });

  describe('neighbours', () => {
    test('set, replaced, deleted', () => {
      const { index } = addVxlan();
      kernel.setNeighbour({ link: index, ip: ip('10.244.2.0'), mac: mac('02:00:00:00:00:02') });
      kernel.setNeighbour({ link: index, ip: ip('10.244.2.0'), mac: mac('02:00:00:00:00:03') });
      kernel.setNeighbour({ link: index, ip: ip('fd00::2'), mac: mac('02:00:00:00:00:04') });
      expect(permanent(kernel, index)).toEqual(['10.244.2.0 02:00:00:00:00:03', 'fd00::2 02:00:00:00:00:04']);
      kernel.deleteNeighbour({ link: index, ip: ip('fd00::2') });
      expect(permanent(kernel, index)).toEqual(['10.244.2.0 02:00:00:00:00:03']);
      expect(codeOf(() => kernel.deleteNeighbour({ link: index, ip: ip('10.9.9.9') }))).toBe('ENOENT');
      expect(codeOf(() => kernel.setNeighbour({ link: 999, ip: ip('10.9.9.9') }))).toBe('ENODEV');
    });

    test('proxy entries are apart from the others', () => {
      const { index } = addBridge();
      kernel.setNeighbour({ link: index, ip: ip('169.254.1.1'), proxy: true });
      expect(permanent(kernel, index)).toEqual([]);
      expect(kernel.neighbours({ proxy: true }).map((one) => one.ip.toString())).toEqual(['169.254.1.1']);
      kernel.deleteNeighbour({ link: index, ip: ip('169.254.1.1'), proxy: true });
      expect(kernel.neighbours({ proxy: true })).toEqual([]);
    });

    test('forwarding entries of a VXLAN device', () => {
      const { index } = addVxlan();
      const entries = (): string[] =>
        kernel
          .fdb({ link: index })
          .filter((entry) => entry.destination !== undefined)
          .map((entry) => `${entry.mac.toString()} ${entry.destination?.toString()} ${entry.state}`)
          .sort();
      kernel.setFdbEntry({ link: index, mac: mac('02:00:00:00:00:02'), destination: ip('192.0.2.2') });
      kernel.setFdbEntry({ link: index, mac: mac('02:00:00:00:00:02'), destination: ip('192.0.2.3') });
      expect(entries()).toEqual(['02:00:00:00:00:02 192.0.2.3 permanent']);
      const everybody = mac('00:00:00:00:00:00');
      kernel.setFdbEntry({ link: index, mac: everybody, destination: ip('192.0.2.2') });
      kernel.setFdbEntry({ link: index, mac: everybody, destination: ip('192.0.2.3') });
      expect(entries()).toHaveLength(3);
      kernel.deleteFdbEntry({ link: index, mac: everybody, destination: ip('192.0.2.2') });
      kernel.deleteFdbEntry({ link: index, mac: mac('02:00:00:00:00:02'), destination: ip('192.0.2.3') });
      expect(entries()).toEqual(['00:00:00:00:00:00 192.0.2.3 permanent']);
      const absent = { link: index, mac: mac('02:00:00:00:00:09') };
      expect(codeOf(() => kernel.deleteFdbEntry({ ...absent, destination: ip('192.0.2.9') }))).toBe('ENOENT');
      expect(codeOf(() => kernel.setFdbEntry(absent))).toBe('EINVAL');
    });

    test('forwarding entries of a bridge', () => {
      const bridge = addBridge();
      const port = addVeth('v0', bridge.index);
      kernel.setFdbEntry({ link: port.index, mac: mac('02:00:00:00:00:07'), table: 'master' });
      const found = kernel
        .fdb({ link: port.index })
        .find((one) => one.mac.toString() === '02:00:00:00:00:07');
      expect(found).toMatchObject({ master: bridge.index, self: false, state: 'permanent' });
    });
  });

  describe('rules', () => {
    test('added, listed in order, deleted', () => {
      const rule = {
        family: 4,
        priority: 100,
        table: 1000,
        source: cidr('10.244.0.0/16'),
        mark: 0x10,
      } as const;
      const before = kernel.rules().map((one) => `${one.family} ${one.priority} ${one.table}`);
      expect(before).toEqual(['4 0 255', '4 32766 254', '4 32767 253', '6 0 255', '6 32766 254']);
      kernel.addRule(rule);
      expect(codeOf(() => kernel.addRule(rule))).toBe('EEXIST');
      const found = kernel.rules(4)[1];
      expect(found).toMatchObject({
        priority: 100,
        table: 1000,
        mark: 0x10,
        mask: 0xffffffff,
        action: 'lookup',
      });
      expect(found?.source?.toString()).toBe('10.244.0.0/16');
      kernel.deleteRule(rule);
      expect(codeOf(() => kernel.deleteRule(rule))).toBe('ENOENT');
      expect(kernel.rules(4)).toHaveLength(3);
    });
  });

  describe('events', () => {
    test('tell every change in order, of the groups that were asked for, until the signal aborts', async () => {
      const control = new AbortController();
      const seen = new Set<string>();
      const finished = new Promise<void>((resolve) => {
        const onEvent = (event: RouteEvent): void => {
          expect(['link', 'route']).toContain(event.kind);
          seen.add(showEvent(event) ?? '');
          if (seen.has('link delete v0')) resolve();
        };
        kernel.watch({ groups: ['link', 'route'], signal: control.signal, onEvent });
      });
      const veth = addVeth();
      kernel.addAddress({ link: veth.index, ip: ip('10.1.0.1'), prefixLength: 24 });
      kernel.addRoute({ destination: cidr('10.2.0.0/16'), gateway: ip('10.1.0.2'), protocol: 80 });
      kernel.deleteRoute({ destination: cidr('10.2.0.0/16') });
      kernel.deleteLink(veth.index);
      await finished;
      const order = ['link set v0', 'route set 10.2.0.0/16', 'route delete 10.2.0.0/16', 'link delete v0'];
      expect([...seen].filter((line) => order.includes(line))).toEqual(order);
      control.abort();
      kernel.changeLink(1, { up: true });
      seen.clear();
      await new Promise((resolve) => setImmediate(resolve));
      expect([...seen]).toEqual([]);
    });
  });
}
