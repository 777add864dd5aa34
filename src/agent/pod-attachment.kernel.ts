import { mkdtempSync, readdirSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { AttachmentRecord } from '../cni/attachments/attachment-record.ts';
import { hostVethName } from '../cni/host-veth.ts';
import { LinuxRouteKernel } from '../kernel/netlink/apply.ts';
import { createNetns, deleteNetns, Netns } from '../kernel/netns/netns.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { PodAttachment } from './pod-attachment.ts';

const NETNS = `fnt-attach-${process.pid}`;
const owner = (n: number) => ({ containerId: `pod-${n}`, ifName: 'eth0' });

let netns: Netns;
let kernel: LinuxRouteKernel;
let folder = '';
let attachment: PodAttachment;

/** A /29 has room for the gateway and five pods. */
function configure(): void {
  netns.run(() => attachment.configure({ name: 'cni0', podCidrs: [Cidr.parse('10.9.0.0/29')], mtu: 1450 }));
}

function connect(name: string): void {
  const master = kernel.link('cni0')?.index ?? 0;
  kernel.addLink({ kind: 'veth', name, master, up: true, peer: { name: `p${name}`.slice(0, 15) } });
}

const reserve = (who: ReturnType<typeof owner>) => attachment.addresses.reserve(who, []);

/** As if everything had been reserved an hour ago. */
function age(): void {
  const anHourAgo = Date.now() / 1000 - 3600;
  const reservations = join(folder, 'networks', 'cbr0');
  for (const file of readdirSync(reservations)) utimesSync(join(reservations, file), anHourAgo, anHourAgo);
}

beforeEach(() => {
  createNetns(NETNS);
  netns = Netns.named(NETNS);
  kernel = LinuxRouteKernel.open(netns.fd);
  folder = mkdtempSync(join(tmpdir(), 'fnt-attach-'));
  attachment = new PodAttachment({
    kernels: { node: kernel, open: (fd) => LinuxRouteKernel.open(fd) },
    logger: pino({ level: 'silent' }),
    dataDir: join(folder, 'networks'),
    networkName: 'cbr0',
    mode: 'bridge',
  });
  configure();
});

afterEach(() => {
  kernel.close();
  netns.close();
  deleteNetns(NETNS);
  rmSync(folder, { recursive: true, force: true });
});

test('a full range frees what vanished pods held, never what a pod still has', () => {
  for (let n = 1; n <= 5; n += 1) reserve(owner(n));
  for (const n of [1, 2, 3, 4]) connect(hostVethName(owner(n)));
  expect(() => reserve(owner(6))).toThrow(/no address is free/);
  age();
  expect(reserve(owner(6))[0]?.ip.toString()).toBe('10.9.0.6');
  expect(attachment.addresses.find(owner(5))).toEqual([]);
  expect(() => reserve(owner(7))).toThrow(/no address is free/);
});

test('while the bridge has a port that nobody can explain, nothing is freed', () => {
  reserve(owner(1));
  age();
  connect('veth12ab34cd');
  expect(attachment.reclaim()).toBe(0);
  kernel.deleteLink(kernel.link('veth12ab34cd')?.index ?? 0);
  expect(attachment.reclaim()).toBe(1);
});

test('a bridge made by hand is adopted, and loses addresses that are not the gateway', () => {
  const link = kernel.link('cni0')?.index ?? 0;
  kernel.addAddress({ link, ip: Cidr.parse('10.8.0.0/24').at(1), prefixLength: 24 });
  kernel.changeLink(link, { up: false, mtu: 1400 });
  configure();
  expect(kernel.link('cni0')).toMatchObject({ index: link, up: true, mtu: 1450 });
  const addresses = kernel
    .addresses({ link, family: 4 })
    .map(({ ip, prefixLength }) => `${ip.toString()}/${prefixLength}`);
  expect(addresses).toEqual(['10.9.0.1/29']);
});

test('a device of the name that is no bridge is named', () => {
  kernel.deleteLink(kernel.link('cni0')?.index ?? 0);
  kernel.addLink({ kind: 'veth', name: 'cni0', peer: { name: 'other' } });
  expect(configure).toThrow('device cni0 exists and is not a bridge');
});

test('a pod of a subnet that another node has now goes on being answered, and leaves nothing', () => {
  const record = {
    containerId: 'old',
    ifName: 'eth0',
    hostInterface: 'fntold',
    addresses: [{ ip: Ip.parse('10.8.0.5'), prefixLength: 24, gateway: Ip.parse('10.8.0.1') }],
    mode: 'bridge',
  } as const;
  const records = vi.spyOn(attachment, 'records').mockReturnValue([record as unknown as AttachmentRecord]);
  configure();
  expect(attachment.stranded).toHaveLength(1);
  const bridge = kernel.link('cni0')?.index ?? 0;
  // As the pod network makes the route to the node that has the subnet now.
  kernel.addLink({ kind: 'veth', name: 'fnt-other', up: true, peer: { name: 'fnt-peer', up: true } });
  const link = kernel.link('fnt-other')?.index ?? 0;
  kernel.replaceRoute({ destination: Cidr.parse('10.8.0.0/24'), link, protocol: 70 });
  const wayTo = (ip: string): number | undefined => kernel.routeTo(Ip.parse(ip)).link;
  expect([wayTo('10.8.0.5'), wayTo('10.8.0.6')]).toEqual([bridge, link]);
  records.mockReturnValue([]);
  configure();
  expect(attachment.stranded).toEqual([]);
  expect(wayTo('10.8.0.5')).toBe(link);
});
