import { LinuxRouteKernel } from '../../../src/kernel/netlink/apply.ts';
import { createNetns, deleteNetns, Netns } from '../../../src/kernel/netns/netns.ts';
import { Ip } from '../../../src/net/ip.ts';
import type { KernelUnderTest } from './pod-network-suite.ts';

let count = 0;

/** A namespace of the machine's own kernel that stands for a node. */
export const nodeNamespace: KernelUnderTest = () => {
  count += 1;
  const name = `fnt-podnet-${process.pid}-${count}`;
  createNetns(name);
  const netns = Netns.named(name);
  const kernel = LinuxRouteKernel.open(netns.fd);
  const link =
    kernel.addLink({ kind: 'veth', name: 'eth0', mtu: 1500, up: true, peer: { name: 'far', up: true } })
      ?.index ?? 0;
  kernel.addAddress({ link, ip: Ip.parse('172.30.0.1'), prefixLength: 24 });
  kernel.addAddress({ link, ip: Ip.parse('fd00:30::1'), prefixLength: 64, noDad: true });
  return {
    kernel,
    dispose: () => {
      kernel.close();
      netns.close();
      deleteNetns(name);
    },
  };
};
