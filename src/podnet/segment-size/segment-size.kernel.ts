import { once } from 'node:events';
import { createServer, Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { run } from '../../kernel/exec/run.ts';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { listenTcp, localPort, tcpSocket } from '../../kernel/netns/listen.ts';
import { Netns } from '../../kernel/netns/netns.ts';
import { NftSocket } from '../../kernel/nft/nft-socket.ts';
import { writeSysctl } from '../../kernel/sysctl/sysctl.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { renderSegmentSize } from './ruleset.ts';

const PODS = { 4: '10.244.0.0/16', 6: 'fd00:10:244::/56' } as const;
const POD = { 4: '10.244.1.2', 6: 'fd00:10:244:1::2' } as const;
const GATEWAY = { 4: '10.244.1.1', 6: 'fd00:10:244:1::1' } as const;
const WORLD = { 4: '192.0.2.2', 6: '2001:db8::2' } as const;
const ROUTER = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;
/** Of the router's route to the world; all devices take 1500. */
const PATH_MTU = 1400;
/** IP and TCP header. */
const HEADERS = { 4: 40, 6: 60 } as const;
const FAMILIES = [4, 6] as const;

/** A pod, its node and somebody outside: what a connection between the two outer ones sees. */
class Way {
  readonly pod = Netns.createAnonymous();
  readonly node = Netns.createAnonymous();
  readonly world = Netns.createAnonymous();
  readonly nft = NftSocket.open({ netns: this.node.fd });
  readonly #kernels = [this.pod, this.node, this.world].map(({ fd }) => LinuxRouteKernel.open(fd));

  constructor() {
    const [pod, node, world] = this.#kernels as [LinuxRouteKernel, LinuxRouteKernel, LinuxRouteKernel];
    writeSysctl('net/ipv4/ip_forward', 1, this.node.fd);
    writeSysctl('net/ipv6/conf/all/forwarding', 1, this.node.fd);
    // Link-local addresses would be tested for a second first.
    for (const { fd } of [this.pod, this.node, this.world])
      writeSysctl('net/ipv6/conf/default/accept_dad', 0, fd);
    // They would take 12 bytes of each segment (RFC 7323, appendix A).
    for (const end of [this.pod, this.world]) writeSysctl('net/ipv4/tcp_timestamps', 0, end.fd);
    node.addLink({
      kind: 'veth',
      name: 'pod',
      up: true,
      peer: { name: 'eth0', netns: this.pod.fd, up: true },
    });
    node.addLink({
      kind: 'veth',
      name: 'out',
      up: true,
      peer: { name: 'eth0', netns: this.world.fd, up: true },
    });
    for (const family of FAMILIES) {
      const all = Cidr.parse(family === 4 ? '0.0.0.0/0' : '::/0');
      const length = family === 4 ? 24 : 64;
      address(pod, 'eth0', POD[family], length);
      address(node, 'pod', GATEWAY[family], length);
      address(node, 'out', ROUTER[family], family === 4 ? 32 : 128);
      address(world, 'eth0', WORLD[family], length);
      pod.addRoute({ destination: all, gateway: Ip.parse(GATEWAY[family]), link: indexOf(pod, 'eth0') });
      world.addRoute({ destination: all, gateway: Ip.parse(ROUTER[family]), link: indexOf(world, 'eth0') });
      const destination = Cidr.parse(`${WORLD[family]}/${family === 4 ? 32 : 128}`);
      node.addRoute({ destination, link: indexOf(node, 'out'), mtu: PATH_MTU });
    }
  }

  /** The largest segment that each end sends on a connection from `client` to `server`, as the kernel has it. */
  async segmentsOf(family: IpFamily, client: Netns, server: Netns, ip: string): Promise<number[]> {
    const fd = listenTcp(Ip.parse(ip), 0, { netns: server.fd });
    const port = localPort(fd);
    const listener = createServer(() => undefined).listen({ fd });
    const socket = new Socket({ fd: tcpSocket(family, client.fd) });
    try {
      const accepted = once(listener, 'connection') as Promise<[Socket]>;
      socket.connect(port, ip);
      const [peer] = await accepted;
      const sizes = await Promise.all([client, server].map(async (end) => segmentSize(end, port)));
      peer.destroy();
      return sizes;
    } finally {
      socket.destroy();
      listener.close();
    }
  }

  close(): void {
    this.nft.close();
    for (const kernel of this.#kernels) kernel.close();
    for (const netns of [this.pod, this.node, this.world]) netns.close();
  }
}

const indexOf = (kernel: LinuxRouteKernel, name: string): number => kernel.link(name)?.index ?? 0;

function address(kernel: LinuxRouteKernel, device: string, ip: string, prefixLength: number): void {
  const noDad = ip.includes(':') ? { noDad: true } : {};
  kernel.addAddress({ link: indexOf(kernel, device), ip: Ip.parse(ip), prefixLength, ...noDad });
}

async function segmentSize(netns: Netns, port: number): Promise<number> {
  const filter = `( sport = :${port} or dport = :${port} )`;
  const { stdout } = await run('ss', ['-tniH', 'state', 'established', filter], { netns: netns.fd });
  const [, mss] = / mss:(\d+) /.exec(stdout) ?? [];
  if (mss === undefined) throw new Error(`no connection: ${stdout}`);
  return Number(mss);
}

test.each(FAMILIES)(
  'IPv%s: TCP connections from and to pods are told what their way carries, others are not',
  async (family) => {
    const way = new Way();
    onTestFinished(() => way.close());
    const [whole, clamped] = [1500 - HEADERS[family], PATH_MTU - HEADERS[family]];
    const out = async () => way.segmentsOf(family, way.pod, way.world, WORLD[family]);
    const into = async () => way.segmentsOf(family, way.world, way.pod, POD[family]);
    expect(await out()).toEqual([whole, whole]);
    await way.nft.load(renderSegmentSize(FAMILIES.map((each) => Cidr.parse(PODS[each]))));
    expect(await out()).toEqual([clamped, clamped]);
    expect(await into()).toEqual([clamped, clamped]);
    await way.nft.load(renderSegmentSize([Cidr.parse('10.99.0.0/16'), Cidr.parse('fd99::/64')]));
    expect(await into()).toEqual([whole, whole]);
  },
);
