import { CommandError } from '../../../kernel/exec/run.ts';
import { IpsetSocket } from '../../../kernel/ipset/ipset-socket.ts';
import type { IpsetKernel } from '../../../kernel/ipset/objects.ts';
import type { IptablesKernel, IptablesVariant } from '../../../kernel/iptables/objects.ts';
import { ToolIptables } from '../../../kernel/iptables/tool-kernel.ts';
import { chooseVariant } from '../../../kernel/iptables/variant.ts';
import { IpvsSocket } from '../../../kernel/ipvs/ipvs-socket.ts';
import type { IpvsKernel } from '../../../kernel/ipvs/objects.ts';
import { LinuxRouteKernel } from '../../../kernel/netlink/apply.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
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
  const { variant } = await chooseVariant(undefined, netns);
  const iptables = await openIptables(families, variant, netns);
  return {
    openIpvs: () => IpvsSocket.open(netns),
    ipset: IpsetSocket.open(netns),
    route: LinuxRouteKernel.open(netns),
    iptables,
    node: new KernelNodeState(netns),
  };
}

/** The tools themselves: they know the numbers of ipsets, which the kernel wants in rules. */
async function openIptables(
  families: readonly IpFamily[],
  variant: IptablesVariant,
  netns: number | undefined,
): Promise<IptablesKernel[]> {
  const opened: IptablesKernel[] = [];
  for (const family of families) opened.push(await ToolIptables.open({ family, variant, netns }));
  if (variant === 'legacy' || (await serves(opened))) return opened;
  // A kernel without nf_tables has no rules there, which does not make it the variant of the node.
  return openIptables(families, 'legacy', netns);
}

async function serves(kernels: readonly IptablesKernel[]): Promise<boolean> {
  try {
    for (const kernel of kernels) await kernel.read('nat');
    return true;
  } catch (error) {
    if (error instanceof CommandError && error.code === 'COMMAND_FAILED') return false;
    throw error;
  }
}
