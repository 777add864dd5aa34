import { spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { pino } from 'pino';
import { describe, expect, test, vi, type TestContext } from 'vitest';
import type { FlatnetError } from '../../../errors/flatnet-error.ts';
import { run } from '../../../kernel/exec/run.ts';
import { LinuxRouteKernel } from '../../../kernel/netlink/apply.ts';
import { listenTcp, localPort, tcpSocket } from '../../../kernel/netns/listen.ts';
import { Netns } from '../../../kernel/netns/netns.ts';
import { writeSysctl } from '../../../kernel/sysctl/sysctl.ts';
import { SecretKey } from '../../../kernel/wireguard/key.ts';
import { WireguardGo } from '../../../kernel/wireguard/wireguard-go.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { Mac } from '../../../net/mac.ts';
import type { NodeLease } from '../../node-lease.ts';
import { PodNetwork } from '../../pod-network.ts';
import type { LocalFamily, LocalNode } from '../backend.ts';
import { WireguardDriver } from './driver.ts';
import { wireguardSchema } from './settings.ts';
import { WireguardBackend } from './wireguard.ts';
import { unanswered } from '../ping-answers.ts';

/** A machine: network and mount namespaces (wireguard-go's sockets are files), and what the agent would run there. */
class Machine {
  readonly netns = Netns.createAnonymous();
  readonly route = LinuxRouteKernel.open(this.netns.fd);
  readonly problems = new Map<string, string>();
  readonly #index: number;
  readonly #mounts: ChildProcess;
  key = SecretKey.generate();
  host: number;
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #network: PodNetwork | undefined;
  #wireguard: WireguardGo | undefined;

  private constructor(index: number, mounts: ChildProcess) {
    this.#index = index;
    this.host = index;
    this.#mounts = mounts;
  }

  static async start(index: number): Promise<Machine> {
    const script =
      'mkdir -p /run/wireguard && mount -t tmpfs none /run/wireguard && echo ready && exec sleep 600';
    const mounts = spawn('unshare', ['--mount', 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(mounts.stdout, 'data');
    return new Machine(index, mounts);
  }

  get #root(): string {
    return `/proc/${this.#mounts.pid ?? 0}/root`;
  }

  get pod(): string {
    return `10.244.${this.#index}.7`;
  }

  get pod6(): string {
    return `fd00:10:244:${this.#index}::7`;
  }

  /** The first of the subnet, so that a later one is used only when the first is gone. */
  setUnderlay(host: number): void {
    const link = this.route.link('eth0')?.index ?? 0;
    for (const { ip, prefixLength, scope } of this.route.addresses({ link }))
      if (scope === 0) this.route.deleteAddress({ link, ip, prefixLength });
    this.route.addAddress({ link, ip: Ip.parse(`172.30.0.${host}`), prefixLength: 24 });
    this.route.addAddress({ link, ip: Ip.parse(`fd00:30::${host}`), prefixLength: 64, noDad: true });
    this.host = host;
  }

  prepare(): void {
    // No test for addresses that another machine has: nothing could be sent for a second or two.
    writeSysctl('net/ipv6/conf/eth0/accept_dad', 0, this.netns.fd);
    for (const device of ['lo', 'eth0'])
      this.route.changeLink(this.route.link(device)?.index ?? 0, { up: true });
    const lo = this.route.link('lo')?.index ?? 0;
    this.route.addAddress({ link: lo, ip: Ip.parse(this.pod), prefixLength: 32 });
    this.route.addAddress({ link: lo, ip: Ip.parse(this.pod6), prefixLength: 128, noDad: true });
    this.setUnderlay(this.host);
  }

  /** What the agent does when it starts, in a process of its own. */
  startAgent(config: object): NodeLease {
    const settings = wireguardSchema.parse({ Type: 'wireguard', ...config });
    const backend = new WireguardBackend(settings, this.key.publicKey());
    const wireguard = new WireguardGo({
      route: this.route,
      netns: this.netns.fd,
      command: ['nsenter', `--mount=/proc/${this.#mounts.pid ?? 0}/ns/mnt`, 'setsid', 'wireguard-go'],
      socketFolder: `${this.#root}/run/wireguard`,
    });
    this.#wireguard = wireguard;
    const { presharedKey } = settings;
    const driver = new WireguardDriver({ wireguard, route: this.route, privateKey: this.key, presharedKey });
    this.#stop = new AbortController();
    this.#network = new PodNetwork({
      kernel: this.route,
      logger: pino({ level: 'silent' }),
      onProblems: (node: string, found: readonly FlatnetError[]) =>
        this.problems.set(node, found.map(({ message }) => message).join()),
      onUnderlayChange: () => undefined,
    });
    const local = this.#local();
    this.#running = this.#network.run(this.#stop.signal);
    this.#network.setLocal(local, { backends: [backend], drivers: [driver] });
    const facts = [...local.families].map(([family, mine]) => [family, backend.data(mine, family)] as const);
    return {
      node: local.name,
      offers: [{ type: 'wireguard', data: new Map(facts) }],
      families: new Map(
        [...local.families].map(([family, { podCidr, ip }]) => [family, { podCidr, publicIp: ip }]),
      ),
    };
  }

  hear(leases: readonly NodeLease[]): void {
    for (const lease of leases) if (lease.node !== `node-${this.#index}`) this.#network?.setPeer(lease);
    this.#network?.allowPrune();
  }

  /** Of each WireGuard device. */
  peerCounts(): number[] {
    return ['flannel-wg', 'flannel-wg-v6']
      .flatMap((name) => this.#wireguard?.device(name) ?? [])
      .map(({ peers }) => peers.length);
  }

  async stopAgent(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async run(command: string, ...args: string[]): Promise<string> {
    const mounts = `--mount=/proc/${this.#mounts.pid ?? 0}/ns/mnt`;
    return (await run('nsenter', [mounts, command, ...args], { netns: this.netns.fd })).stdout;
  }

  /** Of the processes that serve devices of this machine. */
  daemons(): number[] {
    const here = existsSync(this.#root) ? namespaceOf(this.#mounts.pid ?? 0) : '';
    return readdirSync('/proc')
      .filter((pid) => /^\d+$/.test(pid) && namespaceOf(Number(pid)) === here)
      .filter((pid) => readText(`/proc/${pid}/cmdline`).includes('wireguard-go'))
      .map(Number);
  }

  async end(): Promise<void> {
    await this.stopAgent();
    for (const pid of this.daemons()) process.kill(pid, 'SIGKILL');
    this.#mounts.kill('SIGKILL');
    this.route.close();
    this.netns.close();
  }

  #local(): LocalNode {
    const vtepMac = Mac.parse('02:00:00:00:00:01');
    const family = (podCidr: string, network: string, ip: string): LocalFamily => ({
      podCidr: Cidr.parse(podCidr),
      network: Cidr.parse(network),
      ip: Ip.parse(ip),
      vtepMac,
    });
    return {
      name: `node-${this.#index}`,
      underlay: { device: 'eth0', mtu: 1500, onLink: [] },
      families: new Map<IpFamily, LocalFamily>([
        [4, family(`10.244.${this.#index}.0/24`, '10.244.0.0/16', `172.30.0.${this.host}`)],
        [6, family(`fd00:10:244:${this.#index}::/64`, 'fd00:10:244::/56', `fd00:30::${this.host}`)],
      ]),
    };
  }
}

const namespaceOf = (pid: number): string =>
  readText(`/proc/${pid}/mountinfo`).match(/^\d+/)?.[0] ?? `none ${pid}`;

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Two machines on one Ethernet that reach each other; they end with the test. */
class Pair {
  readonly a: Machine;
  readonly b: Machine;
  readonly #config: object;
  #leases: NodeLease[] = [];

  private constructor(a: Machine, b: Machine, config: object) {
    this.a = a;
    this.b = b;
    this.#config = config;
  }

  static async start({ onTestFinished }: TestContext, config: object = {}): Promise<Pair> {
    const [a, b] = await Promise.all([Machine.start(1), Machine.start(2)]);
    const pair = new Pair(a, b, config);
    onTestFinished(async () => {
      await Promise.all(pair.#machines.map(async (machine) => machine.end()));
    });
    a.route.addLink({ kind: 'veth', name: 'eth0', peer: { name: 'eth0', netns: b.netns.fd } });
    for (const machine of pair.#machines) machine.prepare();
    pair.#leases = pair.#machines.map((machine) => machine.startAgent(config));
    for (const machine of pair.#machines) machine.hear(pair.#leases);
    // To whom does not know the sender yet a handshake is lost, and WireGuard waits 5 s before it tries again.
    await vi.waitUntil(() => pair.#machines.every((machine) => !machine.peerCounts().includes(0)), 5_000);
    await reachable(a, b);
    return pair;
  }

  get #machines(): Machine[] {
    return [this.a, this.b];
  }

  /** An agent that starts anew, and what the others hear of it. */
  async restart(machine: Machine): Promise<void> {
    await machine.stopAgent();
    this.#leases[this.#machines.indexOf(machine)] = machine.startAgent(this.#config);
    for (const each of this.#machines) each.hear(this.#leases);
  }
}

async function reachable(a: Machine, b: Machine, timeout = 10_000): Promise<void> {
  for (const target of [b.pod, b.pod6])
    await vi.waitFor(async () => a.run('ping', '-c', '1', '-W', '1', target), { timeout });
}

/** Sends random bytes from a to b's pod address and compares what arrived. */
async function transfer(a: Machine, b: Machine, size: number): Promise<void> {
  const listening = listenTcp(Ip.parse(b.pod), 0, { netns: b.netns.fd });
  const port = localPort(listening);
  const hash = createHash('sha256');
  const server = createServer();
  const received = new Promise<void>((resolve, reject) => {
    server.once('connection', (socket) => {
      pipeline(socket, hash).then(resolve, reject);
    });
  });
  server.listen({ fd: listening });
  const data = randomBytes(size);
  const client = new Socket({ fd: tcpSocket(4, a.netns.fd) });
  client.connect(port, b.pod);
  client.end(data);
  await received;
  server.close();
  expect(hash.digest('hex')).toBe(createHash('sha256').update(data).digest('hex'));
}

describe.each([{}, { Mode: 'auto' }, { Mode: 'ipv6' }])('a pair of nodes with %j', (given) => {
  test('reach each other, also with large transfers; wg shows what one expects', async (context) => {
    const { a, b } = await Pair.start(context, given);
    await transfer(a, b, 5_000_000);
    const isSeparate = !('Mode' in given);
    const devices = (await a.run('wg', 'show', 'interfaces')).trim().split(/\s+/).sort();
    expect(devices).toEqual(isSeparate ? ['flannel-wg', 'flannel-wg-v6'] : ['flannel-wg']);
    const allowed = (await a.run('wg', 'show', 'flannel-wg', 'allowed-ips')).trim();
    const ranges = isSeparate ? '10.244.2.0/24' : '10.244.2.0/24 fd00:10:244:2::/64';
    expect(allowed).toBe(`${b.key.publicKey()}\t${ranges}`);
    const endpoint = given.Mode === 'ipv6' ? '[fd00:30::2]:51820' : '172.30.0.2:51820';
    expect((await a.run('wg', 'show', 'flannel-wg', 'endpoints')).trim()).toBe(
      `${b.key.publicKey()}\t${endpoint}`,
    );
  });
});

test('nothing for a pod of the cluster leaves unencrypted, though its node is not known', async (context) => {
  const { a } = await Pair.start(context);
  const eth0 = a.route.link('eth0')?.index ?? 0;
  a.route.addRoute({ destination: Cidr.parse('0.0.0.0/0'), gateway: Ip.parse('172.30.0.254'), link: eth0 });
  expect(await a.run('ip', 'route', 'get', '10.244.99.1')).toContain('dev flannel-wg');
  expect(await a.run('ip', 'route', 'get', '192.0.2.1')).toContain('dev eth0');
});

test('a new key of a node is followed, the old one is gone', async (context) => {
  const pair = await Pair.start(context);
  const { a, b } = pair;
  const old = b.key.publicKey();
  b.key = SecretKey.generate();
  await pair.restart(b);
  await reachable(a, b);
  await reachable(b, a);
  const keys = await a.run('wg', 'show', 'flannel-wg', 'peers');
  expect(keys.trim()).toBe(b.key.publicKey());
  expect(keys).not.toContain(old);
});

test('a new address of a node is followed', async (context) => {
  const pair = await Pair.start(context);
  const { a, b } = pair;
  b.setUnderlay(77);
  await pair.restart(b);
  await reachable(a, b);
  expect(await a.run('wg', 'show', 'flannel-wg', 'endpoints')).toContain('172.30.0.77:51820');
});

test('a preshared key of all nodes is used', async (context) => {
  const PSK = SecretKey.generate().reveal().toString('base64');
  const { a, b } = await Pair.start(context, { PSK });
  expect(await a.run('wg', 'show', 'flannel-wg', 'preshared-keys')).toContain(`${b.key.publicKey()}\t${PSK}`);
});

test('an agent that starts anew adopts: no packet is lost, the processes are the same', async (context) => {
  const pair = await Pair.start(context);
  const { a, b } = pair;
  const before = a.daemons();
  expect(before).toHaveLength(2);
  const pinging = a.run('ping', '-i', '0.01', '-c', '300', b.pod);
  for (let round = 0; round < 3; round += 1) {
    await pair.restart(a);
    await pair.restart(b);
    await a.run('sleep', '0.5');
  }
  expect(unanswered(await pinging)).toEqual([]);
  await a.run('ping', '-c', '1', '-W', '5', b.pod);
  expect(a.daemons()).toEqual(before);
});

describe('within 5 s is mended', () => {
  test.for<[string, (machine: Machine) => Promise<unknown>]>([
    [
      'wireguard-go killed',
      async (machine) => machine.daemons().forEach((pid) => process.kill(pid, 'SIGKILL')),
    ],
    ['a deleted device', async (machine) => machine.run('ip', 'link', 'delete', 'flannel-wg')],
    ['a device that is down', async (machine) => machine.run('ip', 'link', 'set', 'flannel-wg', 'down')],
    ['a peer that was removed', async (machine) => removePeers(machine)],
    ['another port', async (machine) => machine.run('wg', 'set', 'flannel-wg', 'listen-port', '4444')],
    ['a deleted route', async (machine) => machine.run('ip', 'route', 'flush', 'proto', '70')],
  ])('%s', async ([, break_], context) => {
    const { a, b } = await Pair.start(context);
    const shown = async (): Promise<string[]> => [
      (await a.run('wg', 'show', 'all', 'allowed-ips')).split('\n').sort().join('\n'),
      (await a.run('wg', 'show', 'flannel-wg', 'listen-port')).trim(),
      await a.run('ip', 'route', 'show', 'proto', '70'),
    ];
    const before = await shown();
    await break_(a);
    const started = performance.now();
    await vi.waitFor(async () => expect(await shown()).toEqual(before), { timeout: 5_000, interval: 100 });
    expect(performance.now() - started).toBeLessThan(5_000);
    await reachable(a, b);
    await reachable(b, a);
  });
});

async function removePeers(machine: Machine): Promise<void> {
  for (const key of (await machine.run('wg', 'show', 'flannel-wg', 'peers')).trim().split('\n'))
    await machine.run('wg', 'set', 'flannel-wg', 'peer', key, 'remove');
}
