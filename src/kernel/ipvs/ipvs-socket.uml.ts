import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { run } from '../exec/run.ts';
import { Netns } from '../netns/netns.ts';
import { FakeIpvs } from './fake.ts';
import { IpvsSocket } from './ipvs-socket.ts';
import {
  SCHEDULERS,
  SERVER_FLAGS,
  type IpvsChange,
  type IpvsKernel,
  type RealServer,
  type VirtualServer,
} from './objects.ts';

let netns: Netns;
let ipvs: IpvsSocket;

beforeAll(async () => {
  // IPVS would load them while it holds a lock that the end of a network namespace waits for, and lblc's and lblcr's
  // registration waits for the end of the namespace (Linux 6.1).
  await run('modprobe', ['-a', ...SCHEDULERS.map((name) => `ip_vs_${name}`)]);
});

beforeEach(async () => {
  netns = Netns.createAnonymous();
  // Without any address there is no local routing table, and IPVS takes every real server for a broadcast address.
  await run('ip', ['link', 'set', 'lo', 'up'], { netns: netns.fd });
  const opened = IpvsSocket.open(netns.fd);
  if (opened === undefined) throw new Error('no IPVS');
  ipvs = opened;
});

afterEach(() => {
  ipvs.close();
  netns.close();
});

async function ipvsadm(...args: string[]): Promise<string> {
  return (await run('ipvsadm', args, { netns: netns.fd })).stdout;
}

const server = (part: Partial<VirtualServer>): VirtualServer => ({
  protocol: 'TCP',
  address: '10.96.0.1',
  port: 80,
  scheduler: 'rr',
  flags: 0,
  timeoutSeconds: 0,
  clientPrefixLength: part.address?.includes(':') === true ? 128 : 32,
  ...part,
});

const real = (part: Partial<RealServer>): RealServer => ({
  address: '10.244.1.2',
  port: 8080,
  weight: 1,
  forwarding: 'masquerade',
  upperThreshold: 0,
  lowerThreshold: 0,
  ...part,
});

test('what is programmed is what ipvsadm shows and what is read back', async () => {
  const web = server({ scheduler: 'wlc' });
  const dns = server({
    protocol: 'UDP',
    address: 'fd00:96::a',
    port: 53,
    flags: SERVER_FLAGS.persistent,
    timeoutSeconds: 10_800,
  });
  const phone = server({ protocol: 'SCTP', port: 38412, scheduler: 'mh', flags: SERVER_FLAGS.mhPort });
  const changes: IpvsChange[] = [
    { operation: 'add-server', server: web },
    { operation: 'add-server', server: dns },
    { operation: 'add-server', server: phone },
    {
      operation: 'add-destination',
      server: web,
      destination: real({ weight: 3, upperThreshold: 9, lowerThreshold: 4 }),
    },
    { operation: 'add-destination', server: web, destination: real({ address: '10.244.1.3', weight: 0 }) },
    {
      operation: 'add-destination',
      server: dns,
      destination: real({ address: 'fd00:244::2', port: 5353 }),
    },
  ];
  expect(ipvs.apply(changes)).toEqual([]);
  const saved = (await ipvsadm('-Sn'))
    .trim()
    .split('\n')
    .map((line) => line.trimEnd());
  expect(saved.sort()).toEqual([
    '-A --sctp-service 10.96.0.1:38412 -s mh -b mh-port',
    '-A -t 10.96.0.1:80 -s wlc',
    '-A -u [fd00:96::a]:53 -s rr -p 10800',
    '-a -t 10.96.0.1:80 -r 10.244.1.2:8080 -m -w 3',
    '-a -t 10.96.0.1:80 -r 10.244.1.3:8080 -m -w 0',
    '-a -u [fd00:96::a]:53 -r [fd00:244::2]:5353 -m -w 1',
  ]);
  expect(await ipvsadm('-ln', '--thresholds')).toMatch(/10\.244\.1\.2:8080 +9 +4 /);
  expect(new Set(ipvs.virtualServers())).toEqual(new Set([web, dns, phone]));
  expect(ipvs.virtualServer({ protocol: 'UDP', address: 'fd00:96::a', port: 53 })).toEqual(dns);
  expect(ipvs.virtualServer({ protocol: 'TCP', address: 'fd00:96::a', port: 53 })).toBeUndefined();
  const idle = { activeConnections: 0, inactiveConnections: 0, persistentConnections: 0 };
  expect(new Set(ipvs.realServers(web))).toEqual(
    new Set([
      { ...real({ weight: 3, upperThreshold: 9, lowerThreshold: 4 }), ...idle },
      { ...real({ address: '10.244.1.3', weight: 0 }), ...idle },
    ]),
  );
  expect(ipvs.realServers(dns).map(({ address, port }) => ({ address, port }))).toEqual([
    { address: 'fd00:244::2', port: 5353 },
  ]);
  expect(ipvs.realServers(phone)).toEqual([]);
  expect(ipvs.info()).toMatchObject({ version: '1.2.1' });
  ipvs.flush();
  expect(ipvs.virtualServers()).toEqual([]);
});

test('virtual servers by firewall mark, of somebody else, are passed over', async () => {
  await ipvsadm('-A', '-f', '7', '-s', 'rr');
  expect(ipvs.virtualServers()).toEqual([]);
});

test.each(SCHEDULERS)('scheduler %s', (scheduler) => {
  expect(ipvs.apply([{ operation: 'add-server', server: server({ scheduler }) }])).toEqual([]);
  expect(ipvs.virtualServers()).toEqual([server({ scheduler })]);
});

test('timeouts are set one by one; 0 leaves them', () => {
  const before = ipvs.timeouts();
  ipvs.setTimeouts({ tcpFin: 33, udp: 0 });
  expect(ipvs.timeouts()).toEqual({ ...before, tcpFin: 33 });
});

test('the fake refuses what the kernel refuses, and tells the same state', () => {
  const web = server({});
  const other = server({ port: 81, scheduler: 'none-such' });
  const changes: IpvsChange[] = [
    { operation: 'set-server', server: web },
    { operation: 'add-destination', server: web, destination: real({}) },
    { operation: 'add-server', server: web },
    { operation: 'add-server', server: web },
    { operation: 'add-server', server: other },
    { operation: 'set-server', server: server({ scheduler: 'lc' }) },
    { operation: 'set-destination', server: web, destination: real({}) },
    { operation: 'add-destination', server: web, destination: real({}) },
    { operation: 'add-destination', server: web, destination: real({ weight: 2 }) },
    { operation: 'set-destination', server: web, destination: real({ weight: 5 }) },
    { operation: 'delete-destination', server: web, destination: { address: '10.1.1.1', port: 1 } },
    { operation: 'delete-server', server: other },
    { operation: 'add-destination', server: web, destination: real({ port: 9 }) },
    { operation: 'delete-destination', server: web, destination: real({ port: 9 }) },
  ];
  const outcome = (kernel: IpvsKernel): unknown => ({
    refusals: kernel.apply(changes).map(({ change, error }) => [change, error.code]),
    servers: kernel.virtualServers(),
    destinations: kernel.realServers(web),
  });
  expect(outcome(ipvs)).toEqual(outcome(new FakeIpvs()));
});

test('a thousand changes at once, refused ones among them', () => {
  const servers = Array.from({ length: 1000 }, (_, i) => server({ port: i + 1 }));
  ipvs.apply(servers.slice(300, 600).map((found) => ({ operation: 'add-server', server: found })));
  const refusals = ipvs.apply(servers.map((added) => ({ operation: 'add-server', server: added })));
  expect(refusals.map(({ change }) => change.server.port)).toEqual(
    servers.slice(300, 600).map(({ port }) => port),
  );
  expect(ipvs.virtualServers()).toHaveLength(1000);
});
