import { IpsetSocket } from '../../../kernel/ipset/ipset-socket.ts';
import type { IpsetKernel } from '../../../kernel/ipset/objects.ts';
import type { IptablesKernel } from '../../../kernel/iptables/objects.ts';
import { openIptables } from '../../../kernel/iptables/open.ts';
import { chooseVariant } from '../../../kernel/iptables/variant.ts';
import { IpvsSocket } from '../../../kernel/ipvs/ipvs-socket.ts';
import type { IpvsKernel } from '../../../kernel/ipvs/objects.ts';
import { LinuxRouteKernel } from '../../../kernel/netlink/apply.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import { nftablesServes } from '../../../kernel/nft/support.ts';
import type { IpFamily } from '../../../net/ip.ts';
import { KernelNodeState, type NodeState } from './node-state.ts';

/** The parts of the kernel that the mode works with. */
export interface IpvsModeKernels {
  /** Undefined where the kernel has no IPVS. It may try to load it, so it is asked for only when it is needed. */
  openIpvs(): IpvsKernel | undefined;
  readonly ipset: IpsetKernel;
  readonly route: RouteKernel;
  /** One for each family that is served. */
  readonly iptables: readonly IptablesKernel[];
  readonly node: NodeState;
}

/** `netns`: descriptor of the network namespace; the process's own when absent. Throws IPTABLES_MISSING. */
export async function openKernels(
  families: readonly IpFamily[],
  netns: number | undefined,
): Promise<IpvsModeKernels> {
  const chosen = (await chooseVariant(undefined, netns)).variant;
  // A kernel that cannot have such rules has none, which does not make it the variant of the node.
  const served = chosen === 'legacy' || families.every((family) => nftablesServes(family, netns));
  const variant = served ? chosen : 'legacy';
  const iptables: IptablesKernel[] = [];
  // In process: rules are looked at every few seconds, and to have the tool print all tables takes a tenth of that.
  for (const family of families) {
    iptables.push(await openIptables({ family, variant, netns, inProcess: true }));
  }
  return {
    openIpvs: () => IpvsSocket.open(netns),
    ipset: IpsetSocket.open(netns),
    route: LinuxRouteKernel.open(netns),
    iptables,
    node: new KernelNodeState(netns),
  };
}
