import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Link, NewRoute } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import { Netns } from '../kernel/netns/netns.ts';
import { writeSysctl } from '../kernel/sysctl/sysctl.ts';
import { Cidr } from '../net/cidr.ts';
import { hostVethName } from './host-veth.ts';
import { CNI_CODE, CniError } from './protocol/cni-error.ts';
import type { AddRequest, Attachment } from './protocol/request.ts';
import type { AddResult, ContainerAddress } from './protocol/result.ts';

export interface PodInterfaceKernels {
  /** The node's own. */
  readonly node: RouteKernel;
  /** That of another network namespace, given by descriptor. */
  readonly open: (netns: number) => RouteKernel;
}

export interface PodInterfaceWish {
  readonly bridge: string;
  readonly mtu: number;
  readonly addresses: readonly ContainerAddress[];
}

/**
 * Connects a container: a veth whose far end is made in the container's namespace under its final name. The pod
 * reaches everything, other pods of its node too, by way of the gateway: so both directions of a connection through
 * a Service pass the node's address translation, with or without br_netfilter.
 *
 * Throws CniError; what was made by then is removed.
 */
export function addPodInterface(
  kernels: PodInterfaceKernels,
  request: Pick<AddRequest, 'containerId' | 'ifName' | 'netns'>,
  wish: PodInterfaceWish,
): AddResult {
  const bridge = kernels.node.link(wish.bridge);
  if (bridge === undefined) {
    throw new CniError(
      CNI_CODE.tryAgainLater,
      `bridge ${wish.bridge} is not there`,
      'the agent is making it anew',
    );
  }
  const netns = openNetns(request.netns);
  try {
    if (netns.inode === ownInode()) {
      throw new CniError(
        CNI_CODE.invalidEnvironment,
        `CNI_NETNS ${request.netns} is the node's own namespace`,
      );
    }
    const host = makeVeth(kernels.node, request, wish, bridge.index, netns);
    try {
      const container = configurePod(kernels, netns, request.ifName, wish.addresses);
      return {
        bridge: { name: wish.bridge, mac: macOf(bridge) },
        host: { name: host.name, mac: macOf(host) },
        container: { name: request.ifName, mac: macOf(container), netns: request.netns },
        addresses: wish.addresses,
      };
    } catch (error) {
      kernels.node.deleteLink(host.index);
      throw error;
    }
  } finally {
    netns.close();
  }
}

/** Removes the container's interface, wherever it is found; gone already is no error. */
export async function removePodInterface(
  kernels: PodInterfaceKernels,
  target: Attachment,
  netnsPath: string | undefined,
): Promise<void> {
  const host = kernels.node.link(hostVethName(target));
  if (host !== undefined) {
    await ignoringGone(kernels.node.deleteLinkElsewhere(host.index));
    return;
  }
  // Made by another plugin before this one took over: its name is not known, but its far end's is.
  const netns = netnsPath === undefined ? undefined : openIfThere(netnsPath);
  if (netns === undefined) return;
  try {
    if (netns.inode === ownInode()) return;
    const pod = kernels.open(netns.fd);
    try {
      const link = pod.link(target.ifName);
      if (link?.kind === 'veth') await ignoringGone(pod.deleteLinkElsewhere(link.index));
    } finally {
      pod.close();
    }
  } finally {
    netns.close();
  }
}

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

function makeVeth(
  node: RouteKernel,
  request: Pick<AddRequest, 'containerId' | 'ifName'>,
  { mtu }: PodInterfaceWish,
  master: number,
  netns: Netns,
): Link {
  const name = hostVethName(request);
  const create = (): Link | undefined =>
    node.addLink({
      kind: 'veth',
      name,
      mtu,
      master,
      up: true,
      peer: { name: request.ifName, mtu, netns: netns.fd },
    });
  const link = attempt(() => {
    try {
      return create();
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'EEXIST') throw error;
      // Left by an ADD that was cut off: the address was not reserved any more, so nobody uses it.
      const left = node.link(name);
      if (left === undefined) {
        throw new CniError(
          CNI_CODE.invalidEnvironment,
          `CNI_IFNAME ${request.ifName} exists in the container already`,
        );
      }
      node.deleteLink(left.index);
      return create();
    }
  });
  const made = link ?? node.link(name);
  if (made === undefined) throw new CniError(CNI_CODE.tryAgainLater, `interface ${name} vanished`);
  node.changeBridgePort(made.index, { hairpin: true });
  return made;
}

function configurePod(
  kernels: PodInterfaceKernels,
  netns: Netns,
  ifName: string,
  addresses: readonly ContainerAddress[],
): Link {
  return withKernel(kernels, netns, (pod) => {
    const link = pod.link(ifName);
    if (link === undefined) throw new CniError(CNI_CODE.unknownContainer, `interface ${ifName} vanished`);
    podSettings(netns, ifName);
    const loopback = pod.link('lo');
    if (loopback?.up === false) pod.changeLink(loopback.index, { up: true });
    pod.changeLink(link.index, { up: true });
    for (const { ip, prefixLength } of addresses) {
      pod.addAddress({
        link: link.index,
        ip,
        prefixLength,
        noPrefixRoute: true,
        ...(ip.family === 6 ? { noDad: true } : {}),
      });
    }
    for (const route of podRoutes(link.index, addresses)) pod.addRoute(route);
    return link;
  });
}

/** To the gateway on the link; to everything else by way of it. */
export function podRoutes(link: number, addresses: readonly ContainerAddress[]): NewRoute[] {
  return addresses.flatMap(({ ip, gateway }) => {
    const host = new Cidr(gateway, ip.family === 4 ? 32 : 128);
    const everything = Cidr.parse(ip.family === 4 ? '0.0.0.0/0' : '::/0');
    // RTPROT_BOOT (3), as `ip route add` and the plugins of containernetworking leave it.
    return [
      { destination: host, link, protocol: 3, ...(ip.family === 4 ? { source: ip } : {}) },
      { destination: everything, link, gateway, protocol: 3 },
    ];
  });
}

function podSettings(netns: Netns, ifName: string): void {
  const settings = [
    // A redirect would lead the pod past the gateway. For a host "all" or the interface's own is enough to accept.
    ['net/ipv4/conf/all/accept_redirects', 0],
    [`net/ipv4/conf/${ifName}/accept_redirects`, 0],
    [`net/ipv6/conf/${ifName}/accept_redirects`, 0],
    [`net/ipv6/conf/${ifName}/accept_ra`, 0],
    // With hairpin the pod hears its own probes and would take them for a duplicate.
    [`net/ipv6/conf/${ifName}/accept_dad`, 0],
  ] as const;
  netns.run(() => {
    for (const [key, value] of settings) {
      try {
        writeSysctl(key, value);
      } catch (error) {
        // A kernel without IPv6.
        if (!(error instanceof FlatnetError) || error.code !== 'ENOENT') throw error;
      }
    }
  });
}

function attempt<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (error instanceof CniError || !(error instanceof FlatnetError)) throw error;
    throw new CniError(CNI_CODE.ioFailure, error.message, error.hint, error);
  }
}

function openIfThere(path: string): Netns | undefined {
  try {
    return enterable(path);
  } catch {
    return undefined;
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

async function ignoringGone(deletion: Promise<void>): Promise<void> {
  try {
    await deletion;
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'ENODEV') throw error;
  }
}

let ownNetnsInode: bigint | undefined;

function ownInode(): bigint {
  if (ownNetnsInode === undefined) {
    const own = Netns.current();
    ownNetnsInode = own.inode;
    own.close();
  }
  return ownNetnsInode;
}

function macOf(link: Link): NonNullable<Link['mac']> {
  if (link.mac === undefined) throw new FlatnetError(`device ${link.name} has no MAC`, { code: 'EINVAL' });
  return link.mac;
}
