import { writeFileSync } from 'node:fs';
import { run } from '../../../src/kernel/exec/run.ts';
import type { IpFamily } from '../../../src/net/ip.ts';
import { Host } from './host.ts';
import type { Caller } from './row.ts';

/** Where everybody is, by family. */
export const ADDRESSES = {
  4: {
    pod: '10.244.1.10',
    'other-pod': '10.244.1.11',
    'remote-pod': '10.244.2.10',
    outside: '10.250.0.3',
    /** The node's InternalIP. */
    node: '10.250.0.1',
    /** Another address on the same device, which is none of the node's InternalIPs. */
    nodeSecond: '10.250.0.11',
    /** The node's end of the pods' bridge. */
    bridge: '10.244.1.1',
    otherNode: '10.250.0.2',
    loopback: '127.0.0.1',
  },
  6: {
    pod: 'fd00:10:244:1::10',
    'other-pod': 'fd00:10:244:1::11',
    'remote-pod': 'fd00:10:244:2::10',
    outside: 'fd00:250::3',
    node: 'fd00:250::1',
    nodeSecond: 'fd00:250::11',
    bridge: 'fd00:10:244:1::1',
    otherNode: 'fd00:250::2',
    loopback: '::1',
  },
} as const satisfies Record<IpFamily, Record<string, string>>;

/** All addresses that are the node's own. */
export function nodeAddresses(family: IpFamily): string[] {
  const { node, nodeSecond, bridge, loopback } = ADDRESSES[family];
  return [node, nodeSecond, bridge, loopback];
}

/** The device by which a caller's packets come to the node; undefined: they are the node's own. */
export const INPUT_DEVICES: Readonly<Record<Caller, string | undefined>> = {
  pod: 'cni0',
  'other-pod': 'cni0',
  'remote-pod': 'eth0',
  outside: 'eth0',
  node: undefined,
};

/** Name that endpoints on this node carry as `nodeName`. */
export const NODE_NAME = 'node';
export const OTHER_NODE_NAME = 'other-node';
/** More addresses of the machine outside: as many clients. */
export const OUTSIDE_CLIENTS: Readonly<Record<IpFamily, readonly string[]>> = {
  4: Array.from({ length: 16 }, (_, index) => `10.250.0.${101 + index}`),
  6: Array.from({ length: 16 }, (_, index) => `fd00:250::${101 + index}`),
};
/** Ports on which every pod answers. */
export const POD_PORTS = [7, 53, 8080, 8081, 8082, 8083] as const;

/**
 * A node with two pods behind a bridge, a second node with one pod, and a machine that is neither; all on one wire.
 * Only the first node has a proxy: the other node sends packets for Services to it too.
 */
export class ProxyNetwork {
  readonly wire: Host;
  readonly node: Host;
  readonly pod: Host;
  readonly otherPod: Host;
  readonly otherNode: Host;
  readonly remotePod: Host;
  readonly outside: Host;

  constructor(prefix: string) {
    const host = (name: string): Host => new Host(prefix, name);
    [this.wire, this.node, this.outside] = [host('wire'), host('node'), host('outside')];
    [this.pod, this.otherPod] = [host('pod'), host('other-pod')];
    [this.otherNode, this.remotePod] = [host('other-node'), host('remote-pod')];
  }

  caller(caller: Caller): Host {
    return {
      pod: this.pod,
      'other-pod': this.otherPod,
      'remote-pod': this.remotePod,
      outside: this.outside,
      node: this.node,
    }[caller];
  }

  async start(): Promise<void> {
    const { wire, node, outside, pod, otherPod, otherNode, remotePod } = this;
    for (const host of this.#hosts) prepareStack(host, host === node || host === otherNode);
    await ip(wire, ['link add br0 type bridge mcast_snooping 0', 'link set br0 up']);
    const onWire = { host: wire, bridge: 'br0', hairpin: false };
    const node4 = `${ADDRESSES[4].node}/24`;
    await attach(onWire, node, [node4, `${ADDRESSES[6].node}/64`]);
    await attach(onWire, otherNode, [`${ADDRESSES[4].otherNode}/24`, `${ADDRESSES[6].otherNode}/64`]);
    await attach(onWire, outside, [`${ADDRESSES[4].outside}/24`, `${ADDRESSES[6].outside}/64`]);
    await ip(node, [
      `addr add ${ADDRESSES[4].nodeSecond}/24 dev eth0`,
      `addr add ${ADDRESSES[6].nodeSecond}/64 dev eth0 nodad preferred_lft 0`,
      // As every node has one: without it packets to a service address are unroutable before any rule sees them.
      `route add default via ${ADDRESSES[4].outside}`,
      `-6 route add default via ${ADDRESSES[6].outside}`,
      `route add 10.244.2.0/24 via ${ADDRESSES[4].otherNode}`,
      `-6 route add fd00:10:244:2::/64 via ${ADDRESSES[6].otherNode}`,
    ]);
    await podBridge(node, ['10.244.1.1/24', 'fd00:10:244:1::1/64'], [pod, otherPod]);
    await podBridge(otherNode, ['10.244.2.1/24', 'fd00:10:244:2::1/64'], [remotePod]);
    await ip(
      outside,
      [...OUTSIDE_CLIENTS[4], ...OUTSIDE_CLIENTS[6]].map(
        (address) =>
          `addr add ${address}/${address.includes(':') ? '128 dev eth0 nodad preferred_lft 0' : '32 dev eth0'}`,
      ),
    );
    for (const host of [outside, otherNode]) {
      await ip(host, [
        `route add default via ${ADDRESSES[4].node}`,
        `-6 route add default via ${ADDRESSES[6].node}`,
      ]);
    }
    await Promise.all([pod, otherPod, remotePod].map(async (host) => host.listen(POD_PORTS)));
  }

  stop(): void {
    for (const host of this.#hosts) host.stop();
  }

  get #hosts(): Host[] {
    const { wire, node, outside, pod, otherPod, otherNode, remotePod } = this;
    return [wire, node, outside, pod, otherPod, otherNode, remotePod];
  }
}

interface Switch {
  readonly host: Host;
  readonly bridge: string;
  readonly hairpin: boolean;
}

async function podBridge(node: Host, addresses: readonly [string, string], pods: Host[]): Promise<void> {
  const [v4, v6] = addresses;
  await ip(node, [
    'link add cni0 type bridge mcast_snooping 0',
    'link set cni0 up',
    `addr add ${v4} dev cni0`,
    `addr add ${v6} dev cni0 nodad`,
  ]);
  for (const pod of pods) {
    const { [pod.name as 'pod']: pod4 } = ADDRESSES[4];
    const { [pod.name as 'pod']: pod6 } = ADDRESSES[6];
    // As pods of the CNI plugin: nobody is a neighbour, everything goes through the node, which translates it back.
    await attach({ host: node, bridge: 'cni0', hairpin: true }, pod, [`${pod4}/32`, `${pod6}/128`]);
    await ip(pod, [
      `route add ${bare(v4)} dev eth0 scope link`,
      `-6 route add ${bare(v6)} dev eth0`,
      `route add default via ${bare(v4)}`,
      `-6 route add default via ${bare(v6)}`,
    ]);
  }
}

async function attach({ host: owner, bridge, hairpin }: Switch, host: Host, addresses: readonly string[]) {
  const port = `v-${host.name}`;
  await ip(owner, [
    `link add ${port} type veth peer name eth0 netns ${host.namespace}`,
    `link set ${port} master ${bridge} up`,
    `link set ${port} type bridge_slave hairpin ${hairpin ? 'on' : 'off'}`,
  ]);
  await ip(host, [
    'link set lo up',
    'link set eth0 up',
    ...addresses.map((address) => `addr add ${address} dev eth0${address.includes(':') ? ' nodad' : ''}`),
  ]);
}

/** Before there are devices, so that all get it. */
function prepareStack(host: Host, forwards: boolean): void {
  const forwarding = forwards ? '1' : '0';
  const settings = [
    ['ipv4/ip_forward', forwarding],
    ['ipv4/conf/all/rp_filter', '0'],
    ['ipv4/conf/default/rp_filter', '0'],
    ['ipv4/conf/all/send_redirects', '0'],
    ['ipv4/conf/default/send_redirects', '0'],
    ['ipv6/conf/all/forwarding', forwarding],
    ['ipv6/conf/all/accept_redirects', '0'],
    ['ipv6/conf/default/accept_redirects', '0'],
    // Rows share a caller: the kernel tells one and the same host of a few unreachable ports a second only.
    ['ipv4/icmp_ratelimit', '0'],
    ['ipv6/icmp/ratelimit', '0'],
    // A link-local address that is tentative for a second keeps neighbours from being found.
    ['ipv6/conf/all/accept_dad', '0'],
    ['ipv6/conf/default/accept_dad', '0'],
    ['ipv6/conf/default/dad_transmits', '0'],
  ];
  host.netns.run(() => {
    for (const [name, value = ''] of settings) writeFileSync(`/proc/sys/net/${name}`, value);
  });
}

async function ip(host: Host, commands: readonly string[]): Promise<void> {
  const input = `${commands.join('\n')}\n`;
  await run('ip', ['-n', host.namespace, '-batch', '-'], { input: input.replaceAll(/^-6 /gm, '') });
}

const bare = (prefix: string): string => prefix.split('/')[0] ?? '';
