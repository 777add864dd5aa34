import { run } from '../../kernel/exec/run.ts';
import { netnsPath } from '../../kernel/netns/netns.ts';
import type { BackendSettings } from '../../podnet/network-config.ts';
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

/** The same way as an administrator would build it with ip(8) and bridge(8); with `nat` that one rule beside it. */
export async function buildManualPath(
  prefix: string,
  settings: BackendSettings,
  nat: boolean,
): Promise<MeasuredPath> {
  const pair = new NodePair(prefix);
  try {
    for (const [index, node] of pair.nodes.entries()) {
      for (const line of commands(settings, index + 1, 2 - index, node)) {
        const [command = '', ...args] = line.split(' ');
        await run(command, args, { netns: node.netns.fd });
      }
      if (nat) await run('nft', ['-f', '-'], { netns: node.netns.fd, input: MASQUERADE });
    }
    const [client, server] = pair.nodes;
    return { client: client.pod, server: server.pod, serverIp: '10.244.2.2', close: () => pair.close() };
  } catch (error) {
    pair.close();
    throw error;
  }
}

/** Every word is ours: numbers, device names and the names of our own namespaces. */
function commands(settings: BackendSettings, here: number, there: number, { pod }: BenchNode): string[] {
  const mtu = settings.type === 'vxlan' ? 1450 : 1500;
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
    ...(settings.type === 'vxlan'
      ? vxlanCommands(settings.vni, settings.port, here, there)
      : [`ip route add 10.244.${there}.0/24 via 172.30.0.${there}`]),
  ];
}

const mac = (node: number): string => `02:00:00:00:00:0${node}`;

function vxlanCommands(vni: number, port: number, here: number, there: number): string[] {
  return [
    `ip link add vx0 address ${mac(here)} mtu 1450 type vxlan id ${vni} local 172.30.0.${here} dev eth0 dstport ${port} nolearning`,
    `ip address add 10.244.${here}.0/32 dev vx0`,
    'ip link set vx0 up',
    `ip neigh add 10.244.${there}.0 lladdr ${mac(there)} dev vx0 nud permanent`,
    `bridge fdb add ${mac(there)} dev vx0 dst 172.30.0.${there} self permanent`,
    `ip route add 10.244.${there}.0/24 via 10.244.${there}.0 dev vx0 onlink`,
  ];
}
