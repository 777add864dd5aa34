import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { ConntrackSocket } from '../../kernel/conntrack/conntrack-socket.ts';
import { SctpPeer } from '../../../test/conformance/proxy/sctp-peer.ts';
import { run } from '../../kernel/exec/run.ts';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { createNetns, deleteNetns, Netns, withNetns } from '../../kernel/netns/netns.ts';
import { NftSocket } from '../../kernel/nft/nft-socket.ts';
import { createLogger } from '../../log/logger.ts';
import { Ip } from '../../net/ip.ts';
import type { AttachmentRecord } from '../attachments/attachment-record.ts';
import { NO_RUNTIME_CONFIG, type PortMapping } from '../protocol/runtime-config.ts';
import { PortMappings } from './port-mappings.ts';

// A node with two pods on a bridge, and a machine outside.
const NAME = `fnt-pm${process.pid}`;
const NODE = `${NAME}-node`;
const OUTSIDE = `${NAME}-outside`;
const PODS = [`${NAME}-pod1`, `${NAME}-pod2`];
const NODE_IP = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;

/** Tells every caller by TCP and UDP its name and the address that it sees. */
const SERVER = `
const name = process.argv[1];
const from = (address) => address.replace('::ffff:', '');
require('net').createServer((socket) => socket.end(name + ' ' + from(socket.remoteAddress))).listen(80, '::');
const udp = require('dgram').createSocket('udp6');
udp.on('message', (message, sender) => udp.send(name + ' ' + from(sender.address), sender.port, sender.address));
udp.bind(80, () => console.log('ready'));`;

/** Calls until it is answered, always from one port, as a UDP client does; prints the answer. */
const UDP_CLIENT = `
const [address, port, own] = process.argv.slice(1);
const udp = require('dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4');
udp.on('message', (answer) => { console.log(String(answer)); process.exit(); });
udp.bind(Number(own));
const send = () => udp.send('x', Number(port), address);
send(); setInterval(send, 50); setTimeout(() => process.exit(1), 3000);`;

const TCP_CLIENT = `
const [address, port] = process.argv.slice(1);
const socket = require('net').connect(Number(port), address);
socket.setTimeout(2000, () => process.exit(1));
socket.on('error', () => process.exit(1)).on('data', (answer) => console.log(String(answer)));`;

const servers: ChildProcess[] = [];
let netns: Netns;
let kernel: LinuxRouteKernel;
let feature: PortMappings;
const end = new AbortController();

const podIp = (index: number, family: 4 | 6): string =>
  family === 4 ? `10.244.1.${index + 4}` : `fd00:244::${index + 4}`;

function record(index: number, ...mappings: Partial<PortMapping>[]): AttachmentRecord {
  return {
    containerId: `pod${index}`,
    ifName: 'eth0',
    network: 'cbr0',
    netns: '',
    pod: `default/pod${index}`,
    mode: 'bridge',
    hostInterface: `pod${index}`,
    addresses: ([4, 6] as const).map((family) => ({
      ip: Ip.parse(podIp(index, family)),
      prefixLength: 24,
      gateway: Ip.parse(family === 4 ? '10.244.1.1' : 'fd00:244::1'),
    })),
    runtimeConfig: {
      ...NO_RUNTIME_CONFIG,
      portMappings: mappings.map((mapping) => ({
        hostPort: 8080,
        containerPort: 80,
        protocol: 'tcp',
        hostIp: undefined,
        ...mapping,
      })),
    },
  };
}

async function inside(namespace: string, command: string, ...args: string[]): Promise<string> {
  const where = Netns.named(namespace);
  try {
    return (await run(command, args, { netns: where.fd })).stdout.trim();
  } finally {
    where.close();
  }
}

const ip = async (namespace: string, line: string): Promise<string> =>
  inside(namespace, 'ip', ...line.split(' '));

/** What the server says that answers, or `refused`. */
async function call(
  from: string,
  address: string,
  protocol: 'tcp' | 'udp',
  own = 0,
  port = 8080,
): Promise<string> {
  const script = protocol === 'tcp' ? TCP_CLIENT : UDP_CLIENT;
  return inside(from, process.execPath, '-e', script, address, `${port}`, `${own}`).catch(() => 'refused');
}

async function connect(namespace: string, device: string, index: number): Promise<void> {
  createNetns(namespace);
  await ip(NODE, `link add ${device} type veth peer name eth0 netns ${namespace}`);
  await ip(NODE, `link set ${device} master cni0 up`);
  // As the plugin does: with br_netfilter the pod's call of itself leaves by the port that it came in by.
  await inside(NODE, 'bridge', 'link', 'set', 'dev', device, 'hairpin', 'on');
  await ip(namespace, 'link set lo up');
  await ip(namespace, 'link set eth0 up');
  for (const [family, length, gateway] of [
    [4, 24, '10.244.1.1'],
    [6, 64, 'fd00:244::1'],
  ] as const) {
    await ip(
      namespace,
      `-${family} address add ${podIp(index, family)}/${length} dev eth0 nodad noprefixroute`,
    );
    await ip(namespace, `-${family} route add ${gateway} dev eth0`);
    await ip(namespace, `-${family} route add default via ${gateway}`);
  }
  const where = Netns.named(namespace);
  const server = withNetns(where.fd, () =>
    spawn(process.execPath, ['-e', SERVER, device], { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  where.close();
  servers.push(server);
  await once(server.stdout, 'data');
}

beforeAll(async () => {
  createNetns(NODE);
  createNetns(OUTSIDE);
  netns = Netns.named(NODE);
  kernel = LinuxRouteKernel.open(netns.fd);
  await ip(NODE, 'link set lo up');
  await ip(NODE, `link add uplink type veth peer name eth0 netns ${OUTSIDE}`);
  await ip(NODE, 'link add cni0 type bridge');
  for (const [namespace, device, v4, v6] of [
    [NODE, 'uplink', '192.0.2.1/24', '2001:db8::1/64'],
    [OUTSIDE, 'eth0', '192.0.2.2/24', '2001:db8::2/64'],
    [NODE, 'cni0', '10.244.1.1/24', 'fd00:244::1/64'],
  ] as const) {
    await ip(namespace, `address add ${v4} dev ${device}`);
    await ip(namespace, `address add ${v6} dev ${device} nodad`);
    await ip(namespace, `link set ${device} up`);
  }
  await inside(NODE, 'sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
  await inside(
    NODE,
    'sysctl',
    '-qw',
    'net.ipv4.conf.cni0.send_redirects=0',
    'net.ipv4.conf.all.send_redirects=0',
  );
  for (const [index, pod] of PODS.entries()) await connect(pod, `pod${index + 1}`, index + 1);
  feature = makeFeature();
  void feature.run(end.signal);
});

function makeFeature(): PortMappings {
  return new PortMappings({
    nft: NftSocket.open({ netns: netns.fd }),
    conntrack: ConntrackSocket.open(netns.fd),
    kernel,
    logger: createLogger('test', 'silent'),
    netns: netns.fd,
  });
}

afterAll(async () => {
  end.abort();
  for (const server of servers) {
    server.kill();
    await once(server, 'exit');
  }
  kernel.close();
  netns.close();
  for (const name of [NODE, OUTSIDE, ...PODS]) deleteNetns(name);
});

describe('a host port leads to its pod', () => {
  beforeAll(() => feature.add(record(1, {}, { protocol: 'udp' }, { protocol: 'sctp' })));

  test.each([
    ['outside', OUTSIDE, NODE_IP[4], 'tcp', 'pod1 192.0.2.2'],
    ['outside', OUTSIDE, NODE_IP[6], 'tcp', 'pod1 2001:db8::2'],
    ['outside', OUTSIDE, NODE_IP[4], 'udp', 'pod1 192.0.2.2'],
    ['outside', OUTSIDE, NODE_IP[6], 'udp', 'pod1 2001:db8::2'],
    ['the node', NODE, NODE_IP[4], 'tcp', 'pod1 192.0.2.1'],
    ['the node', NODE, NODE_IP[6], 'tcp', 'pod1 2001:db8::1'],
    ['the node', NODE, NODE_IP[4], 'udp', 'pod1 192.0.2.1'],
    ["the node's loopback", NODE, '127.0.0.1', 'tcp', 'pod1 10.244.1.1'],
    ["the node's loopback", NODE, '127.0.0.1', 'udp', 'pod1 10.244.1.1'],
    ['another pod', PODS[1] ?? '', NODE_IP[4], 'tcp', `pod1 ${podIp(2, 4)}`],
    ['another pod', PODS[1] ?? '', NODE_IP[6], 'tcp', `pod1 ${podIp(2, 6)}`],
    ['another pod, at the gateway', PODS[1] ?? '', '10.244.1.1', 'tcp', `pod1 ${podIp(2, 4)}`],
    ['the pod itself', PODS[0] ?? '', NODE_IP[4], 'tcp', 'pod1 10.244.1.1'],
    ['the pod itself', PODS[0] ?? '', NODE_IP[6], 'tcp', 'pod1 fd00:244::1'],
    ['the pod itself', PODS[0] ?? '', NODE_IP[4], 'udp', 'pod1 10.244.1.1'],
  ] as const)('from %s (%s) at %s by %s', async (_, from, address, protocol, answer) => {
    expect(await call(from, address, protocol)).toBe(answer);
  });

  test.each([
    ['outside', OUTSIDE, '192.0.2.2'],
    ['another pod', PODS[1] ?? '', podIp(2, 4)],
    ['the node', NODE, '192.0.2.1'],
  ])('by SCTP, from %s', async (_, from, source) => {
    const [callers, pod] = [Netns.named(from), Netns.named(PODS[0] ?? '')];
    const server = new SctpPeer(pod.fd, 'pod1', new Set([80]));
    const caller = new SctpPeer(callers.fd, 'caller', new Set());
    try {
      const { reply } = await caller.call(NODE_IP[4], 8080, AbortSignal.timeout(3000));
      expect(reply).toEqual({ host: 'pod1', port: 80, source });
    } finally {
      caller.close();
      server.close();
      callers.close();
      pod.close();
    }
  });

  test("a bridge that is made anew lets the node's loopback through again", async () => {
    await ip(NODE, 'link delete cni0');
    await ip(NODE, 'link add cni0 type bridge');
    await ip(NODE, 'address add 10.244.1.1/24 dev cni0');
    await ip(NODE, 'address add fd00:244::1/64 dev cni0 nodad');
    await ip(NODE, 'link set cni0 up');
    for (const device of ['pod1', 'pod2']) {
      await ip(NODE, `link set ${device} master cni0`);
      await inside(NODE, 'bridge', 'link', 'set', 'dev', device, 'hairpin', 'on');
    }
    await vi.waitFor(async () => expect(await call(NODE, '127.0.0.1', 'tcp')).toBe('pod1 10.244.1.1'), {
      timeout: 5000,
    });
  });

  test("what listens on the node's loopback is not reached from elsewhere", async () => {
    const heard: string[] = [];
    const script = `const udp = require('dgram').createSocket('udp4');
      udp.on('message', (_, from) => { console.log(from.address); udp.send('secret', from.port, from.address); });
      udp.bind(9999, '127.0.0.1', () => console.log('ready'));`;
    const secret = withNetns(netns.fd, () =>
      spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    servers.push(secret);
    await once(secret.stdout, 'data');
    secret.stdout.on('data', (text: Buffer) => heard.push(...text.toString().trim().split('\n')));
    // A pod that is made to take 127.0.0.1 for an address elsewhere.
    const pod = PODS[1] ?? '';
    await inside(pod, 'sysctl', '-qw', 'net.ipv4.conf.eth0.route_localnet=1');
    await ip(pod, 'route del local 127.0.0.0/8 dev lo table local');
    await ip(pod, 'route del local 127.0.0.1 dev lo table local');
    await ip(pod, 'route add 127.0.0.1 via 10.244.1.1');
    expect(await call(pod, '127.0.0.1', 'udp', 0, 9999)).toBe('refused');
    expect(await call(NODE, '127.0.0.1', 'udp', 0, 9999)).toBe('secret');
    expect(new Set(heard)).toEqual(new Set(['127.0.0.1']));
  });

  test('a second pod that wants it is told whose it is', () => {
    expect(() => feature.add(record(2, {}))).toThrow(/pod default\/pod2 .* is taken by pod default\/pod1/);
    expect(feature.check(record(1, {}))).toEqual([]);
  });

  test('an own address of the node has ports of its own', async () => {
    feature.add(record(2, { hostPort: 8081, hostIp: Ip.parse(NODE_IP[4]) }));
    expect(await call(OUTSIDE, NODE_IP[4], 'tcp', 0, 8081)).toBe('pod2 192.0.2.2');
    expect(await call(NODE, '127.0.0.1', 'tcp', 0, 8081)).toBe('refused');
    expect(await call(OUTSIDE, NODE_IP[6], 'tcp', 0, 8081)).toBe('refused');
  });

  test.each([
    ['all rules flushed', ['flush', 'ruleset']],
    ['the table flushed', ['flush', 'table', 'ip', 'flatnet-hostports']],
    ['the elements flushed', ['flush', 'map', 'ip', 'flatnet-hostports', 'host-ports']],
  ])('is back within five seconds: %s', async (_, words) => {
    await inside(NODE, 'nft', ...words);
    await vi.waitFor(async () => expect(await call(OUTSIDE, NODE_IP[4], 'tcp')).toBe('pod1 192.0.2.2'), {
      timeout: 5000,
      interval: 50,
    });
  });

  test('works on while the agent is gone, and is adopted by the next one without being touched', async () => {
    const next = makeFeature();
    const before = await inside(NODE, 'nft', '-a', 'list', 'ruleset');
    next.restore([
      record(1, {}, { protocol: 'udp' }, { protocol: 'sctp' }),
      record(2, { hostPort: 8081, hostIp: Ip.parse(NODE_IP[4]) }),
    ]);
    expect(await inside(NODE, 'nft', '-a', 'list', 'ruleset')).toBe(before);
  });

  test('a UDP client that goes on sending reaches the pod that comes, and the next one', async () => {
    feature.remove(record(1));
    const client = 4711;
    expect(await call(OUTSIDE, NODE_IP[4], 'udp', client)).toBe('refused');
    feature.add(record(1, { protocol: 'udp' }));
    expect(await call(OUTSIDE, NODE_IP[4], 'udp', client)).toBe('pod1 192.0.2.2');
    feature.remove(record(1));
    feature.remove(record(2));
    feature.add(record(2, { protocol: 'udp' }));
    expect(await call(OUTSIDE, NODE_IP[4], 'udp', client)).toBe('pod2 192.0.2.2');
  });

  test('GC takes away what belongs to nobody', async () => {
    feature.gc(() => false);
    const ruleset = await inside(NODE, 'nft', 'list', 'ruleset');
    expect(ruleset).not.toContain('10.244.1');
    expect(await call(OUTSIDE, NODE_IP[4], 'tcp')).toBe('refused');
  });
});
