import { closeSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { run } from '../exec/run.ts';
import { LinuxRouteKernel } from '../netlink/apply.ts';
import { bindUdp } from '../netns/listen.ts';
import { Netns } from '../netns/netns.ts';
import { SecretKey } from './key.ts';
import { WireguardGo } from './wireguard-go.ts';

/** Sockets of wireguard-go are found by the device's name alone: each test process has its own names. */
const NAMES = ['a', 'b'].map((letter) => `fnt-w${process.pid}${letter}`);

interface End {
  readonly netns: Netns;
  readonly route: LinuxRouteKernel;
  readonly wireguard: WireguardGo;
  readonly name: string;
  readonly key: SecretKey;
  readonly underlay: string;
  readonly inner: string;
}

let ends: [End, End];

beforeAll(() => {
  const [a, b] = [0, 1].map((index): End => {
    const netns = Netns.createAnonymous();
    const route = LinuxRouteKernel.open(netns.fd);
    return {
      netns,
      route,
      wireguard: new WireguardGo({ route, netns: netns.fd }),
      name: NAMES[index] ?? '',
      key: SecretKey.generate(),
      underlay: `172.30.0.${index + 1}`,
      inner: `10.9.${index}.1`,
    };
  });
  if (a === undefined || b === undefined) throw new Error('there are two');
  ends = [a, b];
  a.route.addLink({ kind: 'veth', name: 'eth0', peer: { name: 'eth0', netns: b.netns.fd } });
  for (const { route, underlay } of ends) {
    for (const device of ['lo', 'eth0']) route.changeLink(route.link(device)?.index ?? 0, { up: true });
    route.addAddress({ link: route.link('eth0')?.index ?? 0, ip: Ip.parse(underlay), prefixLength: 24 });
  }
});

afterAll(() => {
  for (const end of ends) {
    const pid = daemonOf(end.name);
    if (pid !== undefined) process.kill(pid, 'SIGKILL');
    rmSync(`/var/run/wireguard/${end.name}.sock`, { force: true });
    end.route.close();
    end.netns.close();
  }
});

beforeEach(() => {
  ends.forEach((end, index) => {
    if (end.wireguard.device(end.name) === undefined) bringUp(end, index);
  });
});

function bringUp({ wireguard, route, name, key, inner }: End, index: number): void {
  wireguard.create(name);
  const link = route.link(name)?.index ?? 0;
  route.changeLink(link, { up: true, mtu: 1380 });
  route.replaceAddress({ link, ip: Ip.parse(inner), prefixLength: 16 });
  wireguard.configure(name, { privateKey: key, listenPort: 51_820 });
  const other = ends[1 - index];
  if (other === undefined) return;
  wireguard.configure(name, {
    peers: [
      {
        publicKey: other.key.publicKey(),
        endpoint: { ip: Ip.parse(other.underlay), port: 51_820 },
        allowed: [Cidr.parse(`${other.inner}/32`)],
      },
    ],
  });
}

/** The process that serves a device: of the two that wireguard-go is at its start, the one that stays. */
function daemonOf(name: string): number | undefined {
  const found = readdirSync('/proc').filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      const [program = '', device] = readFileSync(`/proc/${entry}/cmdline`, 'utf8').split('\0');
      return program.endsWith('wireguard-go') && device === name;
    } catch {
      return false;
    }
  });
  return found[0] === undefined ? undefined : Number(found[0]);
}

async function ping(): Promise<void> {
  const [a, b] = ends;
  await run('ping', ['-c', '1', '-W', '1', b.inner], { netns: a.netns.fd });
}

/** Makes `other` a peer from scratch: no session of before is left. */
function anew(end: End, other: End, key: SecretKey | null): void {
  const publicKey = other.key.publicKey();
  const endpoint = { ip: Ip.parse(other.underlay), port: 51_820 };
  const allowed = [Cidr.parse(`${other.inner}/32`)];
  end.wireguard.configure(end.name, { peers: [{ publicKey, remove: true }] });
  end.wireguard.configure(end.name, { peers: [{ publicKey, endpoint, allowed, presharedKey: key }] });
}

const session = (pid: number | 'self'): string | undefined =>
  readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[3];

test('two devices carry packets, and wg shows what was set', async () => {
  const [a, b] = ends;
  await vi.waitFor(ping, { timeout: 10_000 });
  const { stdout } = await run('wg', ['show', a.name, 'dump'], { netns: a.netns.fd });
  const [device = '', peer = ''] = stdout.trim().split('\n');
  expect(device.split('\t').slice(1, 3)).toEqual([a.key.publicKey(), '51820']);
  const [publicKey, preshared, endpoint, allowed, handshake] = peer.split('\t');
  expect([publicKey, preshared, endpoint, allowed]).toEqual([
    b.key.publicKey(),
    '(none)',
    `${b.underlay}:51820`,
    `${b.inner}/32`,
  ]);
  expect(Math.abs(Date.now() / 1000 - Number(handshake))).toBeLessThan(60);
});

test('what is observed is what was set, with what has passed', async () => {
  const [a, b] = ends;
  await vi.waitFor(ping, { timeout: 10_000 });
  const device = a.wireguard.device(a.name);
  expect(device).toMatchObject({ name: a.name, publicKey: a.key.publicKey(), listenPort: 51_820 });
  const [peer] = device?.peers ?? [];
  expect(peer).toMatchObject({ publicKey: b.key.publicKey(), presharedKey: undefined, keepalive: 0 });
  expect(peer?.rxBytes).toBeGreaterThan(0n);
  expect(Math.abs(Date.now() - (peer?.lastHandshake ?? 0))).toBeLessThan(60_000);
});

test('with another preshared key nothing passes, with the same it does', async () => {
  const [a, b] = ends;
  const presharedKey = SecretKey.generate();
  anew(a, b, presharedKey);
  anew(b, a, null);
  await expect(ping()).rejects.toThrow('100% packet loss');
  anew(b, a, presharedKey);
  await vi.waitFor(ping, { timeout: 15_000 });
  expect(b.wireguard.device(b.name)?.peers[0]?.presharedKey?.equals(presharedKey)).toBe(true);
  anew(a, b, null);
  anew(b, a, null);
});

test('many peers: set, told and removed', () => {
  const [a, b] = ends;
  const peers = Array.from({ length: 300 }, (_, n) => ({
    publicKey: SecretKey.generate().publicKey(),
    endpoint: { ip: Ip.parse('fd00:30::').plus(n), port: n + 1 },
    allowed: [new Cidr(Ip.parse('10.64.0.0').plus(n * 256), 24)],
    keepalive: n,
  }));
  a.wireguard.configure(a.name, { peers });
  const found = new Map(a.wireguard.device(a.name)?.peers.map((peer) => [peer.publicKey, peer]));
  for (const { publicKey, endpoint, allowed, keepalive } of peers) {
    const peer = found.get(publicKey);
    expect(peer?.endpoint?.ip.toString()).toBe(endpoint.ip.toString());
    expect([peer?.endpoint?.port, peer?.keepalive]).toEqual([endpoint.port, keepalive]);
    expect(peer?.allowed.map(String)).toEqual(allowed.map(String));
  }
  a.wireguard.configure(a.name, { peers: peers.map(({ publicKey }) => ({ publicKey, remove: true })) });
  expect(a.wireguard.device(a.name)?.peers.map(({ publicKey }) => publicKey)).toEqual([b.key.publicKey()]);
});

describe('the process', () => {
  test('is in a session of its own, and nothing of our environment or any key is in it', () => {
    const [a] = ends;
    const pid = daemonOf(a.name) ?? 0;
    expect(session(pid)).not.toBe(session('self'));
    const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
      .split('\0')
      .map((each) => each.split('=')[0]);
    expect(environment.filter((name) => name !== '' && !name?.startsWith('WG_'))).toEqual(['PATH']);
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).not.toContain(a.key.reveal().toString('base64'));
  });

  test('that is killed takes its device with it: then there is none, and a new one serves', async () => {
    const [a] = ends;
    process.kill(daemonOf(a.name) ?? 0, 'SIGKILL');
    await vi.waitFor(() => expect(a.route.link(a.name)).toBeUndefined());
    expect(a.wireguard.device(a.name)).toBeUndefined();
    expect(() => a.wireguard.configure(a.name, { listenPort: 1 })).toThrow('ENODEV');
    bringUp(a, 0);
    await vi.waitFor(ping, { timeout: 15_000 });
  });

  test('ends when its device is deleted', async () => {
    const [a] = ends;
    a.route.deleteLink(a.route.link(a.name)?.index ?? 0);
    expect(a.wireguard.device(a.name)).toBeUndefined();
    await vi.waitFor(() => expect(daemonOf(a.name)).toBeUndefined(), { timeout: 5_000 });
  });

  test('that does not answer is an error soon, and at once when asked again', () => {
    const [{ name, route, netns }] = ends;
    const wireguard = new WireguardGo({ route, netns: netns.fd });
    const pid = daemonOf(name) ?? 0;
    process.kill(pid, 'SIGSTOP');
    try {
      expect(() => wireguard.device(name)).toThrow('wireguard-go does not answer');
      const started = performance.now();
      expect(() => wireguard.device(name)).toThrow('wireguard-go does not answer');
      expect(performance.now() - started).toBeLessThan(500);
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });
});

test('a port that is taken is an error that says so', () => {
  const [, b] = ends;
  const taken = bindUdp(Ip.parse('0.0.0.0'), 4444, { netns: b.netns.fd });
  try {
    expect(() => b.wireguard.configure(b.name, { listenPort: 4444 })).toThrow(
      `configure WireGuard device ${b.name}: EADDRINUSE: its UDP port is taken`,
    );
    expect(b.wireguard.device(b.name)?.listenPort).toBe(51_820);
  } finally {
    closeSync(taken);
  }
});

test('a device whose name is taken, here or in another namespace, is refused', () => {
  const [a, b] = ends;
  expect(() => a.wireguard.create(a.name)).toThrow('EEXIST');
  expect(() => b.wireguard.create(a.name)).toThrow('one for that name serves another network namespace');
});
