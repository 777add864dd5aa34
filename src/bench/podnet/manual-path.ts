import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../kernel/exec/run.ts';
import { netnsPath } from '../../kernel/netns/netns.ts';
import type { BackendSettings } from '../../podnet/network-config.ts';
import { retry } from '../../timing/backoff.ts';
import type { MeasuredPath } from './measured-path.ts';
import { NodePair, type BenchNode } from './node-pair.ts';

/** The one rule that pods need to reach the world; without any NAT the kernel tracks no connections. */
const MASQUERADE = `table ip by-hand {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
  }
}
`;

/** What an underlay of 1500 bytes leaves for pods. */
const MTU: Record<BackendSettings['type'], number> = {
  vxlan: 1450,
  'host-gw': 1500,
  ipip: 1480,
  wireguard: 1420,
  udp: 1472,
  alloc: 1500,
};

/**
 * The same way as an administrator would build it with ip(8), bridge(8), wg(8) or socat(1); with `nat` that one rule
 * beside it.
 */
export async function buildManualPath(
  prefix: string,
  settings: BackendSettings,
  nat: boolean,
): Promise<MeasuredPath> {
  const pair = new NodePair(prefix);
  const stop = new AbortController();
  const close = (): void => {
    stop.abort();
    pair.close();
  };
  try {
    for (const [index, node] of pair.nodes.entries()) {
      await runAll(node, bridgeCommands(MTU[settings.type], index + 1, node));
      if (nat) await run('nft', ['-f', '-'], { netns: node.netns.fd, input: MASQUERADE });
    }
    if (settings.type === 'wireguard') await buildWireguard(prefix, pair);
    for (const [index, node] of pair.nodes.entries()) {
      if (settings.type === 'udp') await startSocat(node, index + 1, 2 - index, stop.signal);
      await runAll(node, tunnelCommands(settings, index + 1, 2 - index));
    }
    const [client, server] = pair.nodes;
    return { client: client.pod, server: server.pod, serverIp: '10.244.2.2', close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Every word is ours: numbers, device names and the names of our own namespaces. */
async function runAll({ netns }: BenchNode, lines: readonly string[]): Promise<void> {
  for (const line of lines) {
    const [command = '', ...args] = line.split(' ');
    await run(command, args, { netns: netns.fd });
  }
}

function bridgeCommands(mtu: number, here: number, { pod }: BenchNode): string[] {
  const inPod = `nsenter --net=${netnsPath(pod)}`;
  return [
    'sysctl -qw net.ipv4.ip_forward=1',
    `ip link add br0 mtu ${mtu} type bridge`,
    `ip address add 10.244.${here}.1/24 dev br0`,
    'ip link set br0 up',
    `ip link add pod0 mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${netnsPath(pod)}`,
    'ip link set pod0 master br0 up',
    `${inPod} ip address add 10.244.${here}.2/24 dev eth0`,
    `${inPod} ip link set eth0 up`,
    `${inPod} ip route add default via 10.244.${here}.1`,
  ];
}

function tunnelCommands(settings: BackendSettings, here: number, there: number): string[] {
  switch (settings.type) {
    case 'vxlan':
      return vxlanCommands(settings.vni, settings.port, here, there);
    case 'ipip':
      return [
        `ip link add tun0 mtu ${MTU.ipip} type ipip local 172.30.0.${here} remote 172.30.0.${there}`,
        'ip link set tun0 up',
        `ip route add 10.244.${there}.0/24 dev tun0`,
      ];
    case 'udp':
      return [`ip link set tun0 mtu ${MTU.udp}`, `ip route add 10.244.${there}.0/24 dev tun0`];
    case 'wireguard':
      return [];
    default:
      return [`ip route add 10.244.${there}.0/24 via 172.30.0.${there}`];
  }
}

const mac = (node: number): string => `02:00:00:00:00:0${node}`;

function vxlanCommands(vni: number, port: number, here: number, there: number): string[] {
  return [
    `ip link add vx0 address ${mac(here)} mtu ${MTU.vxlan} type vxlan id ${vni} local 172.30.0.${here} dev eth0 dstport ${port} nolearning`,
    `ip address add 10.244.${here}.0/32 dev vx0`,
    'ip link set vx0 up',
    `ip neigh add 10.244.${there}.0 lladdr ${mac(there)} dev vx0 nud permanent`,
    `bridge fdb add ${mac(there)} dev vx0 dst 172.30.0.${there} self permanent`,
    `ip route add 10.244.${there}.0/24 via 10.244.${there}.0 dev vx0 onlink`,
  ];
}

/** With wireguard-go, whose devices must have different names on one machine. */
async function buildWireguard(prefix: string, { nodes }: NodePair): Promise<void> {
  const device = (node: number): string => `wg${prefix.slice(-8)}${node}`;
  const keys = await Promise.all(nodes.map(async () => (await run('wg', ['genkey'])).stdout));
  const folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
  for (const [index, node] of nodes.entries()) {
    const netns = node.netns.fd;
    const [here, there] = [index + 1, 2 - index];
    await run('wireguard-go', [device(here)], { netns });
    const keyFile = join(folder, `key-${here}`);
    writeFileSync(keyFile, keys[index] ?? '', { mode: 0o600 });
    await run('wg', ['set', device(here), 'listen-port', '51820', 'private-key', keyFile], { netns });
    const { stdout: peer } = await run('wg', ['pubkey'], { input: keys[1 - index] ?? '' });
    const words = `peer ${peer.trim()} endpoint 172.30.0.${there}:51820 allowed-ips 10.244.${there}.0/24`;
    await run('wg', ['set', device(here), ...words.split(' ')], { netns });
    await runAll(node, [
      `ip link set ${device(here)} mtu ${MTU.wireguard} up`,
      `ip route add 10.244.${there}.0/24 dev ${device(here)}`,
    ]);
  }
  rmSync(folder, { recursive: true });
}

/** Raw packets in datagrams between a TUN device and UDP: what flannel's udp backend does, too. */
async function startSocat(
  { netns, kernel }: BenchNode,
  here: number,
  there: number,
  signal: AbortSignal,
): Promise<void> {
  const ends = [
    'TUN,tun-name=tun0,iff-no-pi,iff-up',
    `UDP4-DATAGRAM:172.30.0.${there}:8285,bind=172.30.0.${here}:8285`,
  ];
  void run('socat', ends, { netns: netns.fd, signal, timeoutMs: 0 }).catch(() => undefined);
  const isThere = (): Promise<void> =>
    kernel.link('tun0') === undefined ? Promise.reject(new Error('socat made no tun0')) : Promise.resolve();
  await retry(isThere, { attempts: 50, initialMs: 20, maxMs: 50, shouldRetry: () => true });
}
