import { writeFileSync } from 'node:fs';
import { LinuxRouteKernel } from '../../../src/kernel/netlink/apply.ts';
import { Netns, withNetns } from '../../../src/kernel/netns/netns.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip } from '../../../src/net/ip.ts';
import { Mac } from '../../../src/net/mac.ts';

/** Where a machine stands. */
export interface Place {
  readonly index: number;
  readonly namespace: string;
  readonly v4: string;
  readonly v6: string;
  /** Second byte of the subnet: 172.30.0.0/24 or 172.31.0.0/24. */
  readonly subnet: 30 | 31;
}

/** Link to what stands for the Internet, bytes: less than pods have, so that paths have to be discovered. */
export const WORLD_MTU = 1300;
export const WORLD = { 4: '203.0.113.1', 6: '2001:db8:ff::1' } as const;

const BRIDGES = { 30: 'underlay', 31: 'underlay-b' } as const;

/**
 * The network below a small cluster: one Ethernet; or, when it is routed, two of them with a router between, and a
 * host beyond that stands for the Internet. The router is the namespace where the API server listens.
 */
export class SmallFabric {
  readonly netns: Netns;
  readonly #routed: boolean;
  readonly #kernel: LinuxRouteKernel;

  constructor(namespace: string, routed: boolean) {
    this.netns = Netns.named(namespace);
    this.#routed = routed;
    this.#kernel = LinuxRouteKernel.open(this.netns.fd);
    this.#addSubnet(30);
    if (!routed) return;
    this.#addSubnet(31);
    withNetns(this.netns.fd, () => {
      for (const family of ['ipv4', 'ipv6'])
        writeFileSync(`/proc/sys/net/${family}/conf/all/forwarding`, '1');
    });
  }

  /** The Internet: it knows no way back to pods. */
  addWorld(namespace: string): void {
    const netns = Netns.named(namespace);
    const near = this.#kernel.addLink({
      kind: 'veth',
      name: 'to-world',
      mtu: WORLD_MTU,
      up: true,
      peer: { name: 'eth0', mtu: WORLD_MTU, netns: netns.fd },
    });
    const addresses = [
      [WORLD[4], '203.0.113.254', 24],
      [WORLD[6], '2001:db8:ff::fe', 64],
    ] as const;
    const world = LinuxRouteKernel.open(netns.fd);
    const link = bringUp(world);
    for (const [far, router, prefixLength] of addresses) {
      this.#kernel.addAddress({ link: near?.index ?? 0, ip: Ip.parse(router), prefixLength, noDad: true });
      world.addAddress({ link, ip: Ip.parse(far), prefixLength, noDad: true });
      addDefaultRoute(world, link, router);
    }
    world.close();
    netns.close();
  }

  /** Puts a machine's namespace on its Ethernet, with its addresses; its MAC is the same each time. */
  plug({ index, namespace, v4, v6, subnet }: Place): void {
    const netns = Netns.named(namespace);
    const name = `to-node${index}`;
    // A namespace that is gone takes its devices with it only after a while.
    const old = this.#kernel.link(name);
    if (old !== undefined) this.#kernel.deleteLink(old.index);
    this.#kernel.addLink({
      kind: 'veth',
      name,
      master: this.#kernel.link(BRIDGES[subnet])?.index ?? 0,
      up: true,
      peer: { name: 'eth0', netns: netns.fd, mac: new Mac(Uint8Array.of(2, subnet, 0, 0, 0, index)) },
    });
    const node = LinuxRouteKernel.open(netns.fd);
    const link = bringUp(node);
    node.addAddress({ link, ip: Ip.parse(v4), prefixLength: 24 });
    node.addAddress({ link, ip: Ip.parse(v6), prefixLength: 64, noDad: true });
    if (this.#routed) {
      addDefaultRoute(node, link, `172.${subnet}.0.254`);
      addDefaultRoute(node, link, `fd00:${subnet}::fe`);
    }
    node.close();
    netns.close();
  }

  /** A route to one host on the router, as a network's administrator would make one. */
  addRoute(host: string, via: string): void {
    const ip = Ip.parse(host);
    const destination = new Cidr(ip, ip.family === 4 ? 32 : 128);
    this.#kernel.replaceRoute({ destination, gateway: Ip.parse(via) });
  }

  /** What the router takes towards the second subnet, bytes: packets that are larger it divides or refuses. */
  set farMtu(mtu: number) {
    this.#kernel.changeLink(this.#kernel.link(BRIDGES[31])?.index ?? 0, { mtu });
  }

  close(): void {
    this.#kernel.close();
    this.netns.close();
  }

  #addSubnet(subnet: 30 | 31): void {
    // A MAC of its own: otherwise it has the smallest of its ports, and changes when a node goes.
    const mac = new Mac(Uint8Array.of(2, subnet, 0, 0, 0, 254));
    const bridge = this.#kernel.addLink({ kind: 'bridge', name: BRIDGES[subnet], mac, up: true });
    const link = bridge?.index ?? 0;
    this.#kernel.addAddress({ link, ip: Ip.parse(`172.${subnet}.0.254`), prefixLength: 24 });
    this.#kernel.addAddress({ link, ip: Ip.parse(`fd00:${subnet}::fe`), prefixLength: 64, noDad: true });
  }
}

/** Returns the index of eth0. */
function bringUp(kernel: LinuxRouteKernel): number {
  for (const device of ['lo', 'eth0']) kernel.changeLink(kernel.link(device)?.index ?? 0, { up: true });
  return kernel.link('eth0')?.index ?? 0;
}

function addDefaultRoute(kernel: LinuxRouteKernel, link: number, router: string): void {
  const gateway = Ip.parse(router);
  kernel.replaceRoute({
    destination: Cidr.parse(gateway.family === 4 ? '0.0.0.0/0' : '::/0'),
    gateway,
    link,
  });
}
