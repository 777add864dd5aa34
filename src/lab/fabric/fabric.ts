import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { createNetns, Netns } from '../../kernel/netns/netns.ts';
import { writeSysctl } from '../../kernel/sysctl/sysctl.ts';
import { Cidr } from '../../net/cidr.ts';
import { fabricNetns, nodeNetns } from '../state/lab-name.ts';
import type { AttachmentPlan, FabricPlan, Placed } from './plan.ts';

const DEFAULT_ROUTES = { 4: Cidr.parse('0.0.0.0/0'), 6: Cidr.parse('::/0') } as const;

/**
 * Builds the underlay: one namespace that is router and switches, one for each node, one for the client outside.
 * Everything is inside of named namespaces: nothing of the host's network is touched, and all of it goes with them.
 */
export function buildFabric(lab: string, plan: FabricPlan): void {
  createNetns(fabricNetns(lab));
  const netns = Netns.named(fabricNetns(lab));
  const kernel = LinuxRouteKernel.open(netns.fd);
  try {
    setRouterSysctls(netns.fd);
    bringUp(kernel, 'lo');
    const bridges = new Map<string, number>();
    for (const { bridge, gateways } of plan.subnets) {
      const link = kernel.addLink({ kind: 'bridge', name: bridge, up: true, bridge: { stp: false } });
      if (link === undefined) continue;
      kernel.changeLink(link.index, { mtu: plan.mtu });
      addAddresses(kernel, link.index, gateways);
      bridges.set(bridge, link.index);
    }
    for (const attachment of plan.attachments) {
      const master = bridges.get(attachment.bridge);
      if (master !== undefined) attach(lab, kernel, attachment, master, plan.mtu);
    }
  } finally {
    kernel.close();
    netns.close();
  }
}

function attach(
  lab: string,
  fabric: LinuxRouteKernel,
  plan: AttachmentPlan,
  master: number,
  mtu: number,
): void {
  const name = nodeNetns(lab, plan.name);
  createNetns(name);
  const netns = Netns.named(name);
  const kernel = LinuxRouteKernel.open(netns.fd);
  try {
    const peer = { name: 'eth0', mtu, netns: netns.fd };
    fabric.addLink({ kind: 'veth', name: plan.port, mtu, master, up: true, peer });
    bringUp(kernel, 'lo');
    const eth0 = bringUp(kernel, 'eth0');
    addAddresses(kernel, eth0, plan.addresses);
    for (const gateway of plan.gateways) {
      kernel.addRoute({ destination: DEFAULT_ROUTES[gateway.family], gateway, link: eth0 });
    }
  } finally {
    kernel.close();
    netns.close();
  }
}

function setRouterSysctls(netns: number): void {
  writeSysctl('net.ipv4.ip_forward', 1, netns);
  writeSysctl('net.ipv6.conf.all.forwarding', 1, netns);
  // A router of a data centre does not tell hosts of other ways; redirects would end up in the nodes' caches.
  writeSysctl('net.ipv4.conf.all.send_redirects', 0, netns);
  writeSysctl('net.ipv4.conf.default.send_redirects', 0, netns);
}

function bringUp(kernel: LinuxRouteKernel, name: string): number {
  const index = kernel.link(name)?.index ?? 0;
  kernel.changeLink(index, { up: true });
  return index;
}

function addAddresses(kernel: LinuxRouteKernel, link: number, addresses: readonly Placed[]): void {
  for (const { ip, subnet } of addresses) {
    const broadcast = ip.family === 4 ? { broadcast: subnet.last } : {};
    kernel.addAddress({ link, ip, prefixLength: subnet.prefixLength, noDad: true, ...broadcast });
  }
}
