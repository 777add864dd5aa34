import { FlatnetError } from '../errors/flatnet-error.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import { Netns } from '../kernel/netns/netns.ts';
import { writeSysctl } from '../kernel/sysctl/sysctl.ts';
import { CNI_CODE, CniError } from './protocol/cni-error.ts';

export interface PodInterfaceKernels {
  /** The node's own. */
  readonly node: RouteKernel;
  /** That of another network namespace, given by descriptor. */
  readonly open: (netns: number) => RouteKernel;
}

/** Throws CniError 3 for what cannot be entered. Close it when done. */
export function openNetns(path: string): Netns {
  try {
    return enterable(path);
  } catch (cause) {
    throw new CniError(
      CNI_CODE.unknownContainer,
      `CNI_NETNS ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`,
      'the container may have ended meanwhile',
      cause,
    );
  }
}

/** As `openNetns`, of a container: throws CniError 4 for the node itself. */
export function openContainer(path: string): Netns {
  const netns = openNetns(path);
  if (!isOwn(netns)) return netns;
  netns.close();
  throw new CniError(CNI_CODE.invalidEnvironment, `CNI_NETNS ${path} is the node's own namespace`);
}

/** Undefined for what is gone, or is no namespace, or is the node itself. */
export function openIfThere(path: string): Netns | undefined {
  let netns: Netns;
  try {
    netns = enterable(path);
  } catch {
    return undefined;
  }
  if (!isOwn(netns)) return netns;
  netns.close();
  return undefined;
}

export function withKernel<T>(
  kernels: PodInterfaceKernels,
  netns: Netns,
  action: (pod: RouteKernel) => T,
): T {
  const pod = kernels.open(netns.fd);
  try {
    return action(pod);
  } finally {
    pod.close();
  }
}

/** Where the kernel has the setting: there are kernels without IPv6. */
export function writeIfThere(key: string, value: number): void {
  try {
    writeSysctl(key, value);
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'ENOENT') throw error;
  }
}

/** The file under /run/netns stays as a plain one when only its mount is gone: the namespace is then no more. */
function enterable(path: string): Netns {
  const netns = Netns.open(path);
  try {
    netns.run(() => undefined);
    return netns;
  } catch (error) {
    netns.close();
    throw error;
  }
}

let ownInode: bigint | undefined;

function isOwn(netns: Netns): boolean {
  if (ownInode === undefined) {
    const own = Netns.current();
    ownInode = own.inode;
    own.close();
  }
  return netns.inode === ownInode;
}
