import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Link, NewRoute } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Netns } from '../kernel/netns/netns.ts';
import type { Mac } from '../net/mac.ts';
import type { InterfaceMode } from './attachments/attachment-record.ts';
import {
  openContainer,
  openIfThere,
  withKernel,
  writeIfThere,
  type PodInterfaceKernels,
} from './container-netns.ts';
import { hostVethName } from './host-veth.ts';
import { hostRoutes, podRoutes, resultRoutes, ROUTED_GATEWAY_V6, ROUTED_MAC } from './pod-routes.ts';
import { CNI_CODE, CniError } from './protocol/cni-error.ts';
import type { Dns } from './protocol/dns.ts';
import type { IpamRoute } from './protocol/ipam-config.ts';
import type { AddRequest, Attachment } from './protocol/request.ts';
import type { AddResult, ContainerAddress } from './protocol/result.ts';

export interface PodInterfaceWish {
  readonly mode: InterfaceMode;
  /** Of mode bridge. */
  readonly bridge: string;
  readonly mtu: number;
  readonly hairpin: boolean;
  /** Of the container's end; the kernel's choice when undefined. */
  readonly mac: Mac | undefined;
  readonly addresses: readonly ContainerAddress[];
  /** Undefined: everything by way of the gateway. */
  readonly routes: readonly IpamRoute[] | undefined;
  readonly dns: Dns;
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
  const bridge = wish.mode === 'bridge' ? bridgeOf(kernels.node, wish.bridge) : undefined;
  const netns = openContainer(request.netns);
  try {
    const host = makeVeth(kernels.node, request, wish, bridge?.index, netns);
    try {
      if (bridge === undefined) routeToPod(kernels.node, host, wish.addresses);
      else kernels.node.changeBridgePort(host.index, { hairpin: wish.hairpin });
      const routes = resultRoutes(wish.addresses, wish.routes);
      const container = configurePod(kernels, netns, request.ifName, wish, routes);
      return {
        bridge: bridge && { name: bridge.name, mac: macOf(bridge) },
        host: { name: host.name, mac: macOf(host) },
        container: { name: request.ifName, mac: macOf(container), netns: request.netns },
        mtu: wish.mtu,
        addresses: wish.addresses,
        routes,
        dns: wish.dns,
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

/** What a routed pod needs of the node; idempotent. The settings come first: IPv6 looks at them as the link comes up. */
export function routeToPod(node: RouteKernel, host: Link, addresses: readonly ContainerAddress[]): void {
  const { name } = host;
  // Answers for the gateway, which is nobody's address, as long as the node has a route to everywhere.
  writeIfThere(`net/ipv4/conf/${name}/proxy_arp`, 1);
  writeIfThere(`net/ipv4/neigh/${name}/proxy_delay`, 0);
  // A pod that reaches itself by a Service comes back where it came from: no reason to tell it of a shorter way.
  writeIfThere(`net/ipv4/conf/${name}/send_redirects`, 0);
  const six = addresses.some(({ ip }) => ip.family === 6);
  if (six) {
    writeIfThere(`net/ipv6/conf/${name}/accept_ra`, 0);
    writeIfThere(`net/ipv6/conf/${name}/accept_dad`, 0);
  }
  if (!host.up) node.changeLink(host.index, { up: true });
  // The kernel may be told to make link-local addresses from something else than the MAC.
  if (six)
    node.replaceAddress({
      link: host.index,
      ip: ROUTED_GATEWAY_V6,
      prefixLength: 64,
      scope: 253,
      noDad: true,
    });
  for (const route of hostRoutes(host.index, addresses)) node.replaceRoute(route);
}

function bridgeOf(node: RouteKernel, name: string): Link {
  const bridge = node.link(name);
  if (bridge !== undefined) return bridge;
  throw new CniError(CNI_CODE.tryAgainLater, `bridge ${name} is not there`, 'the agent is making it anew');
}

function makeVeth(
  node: RouteKernel,
  request: Pick<AddRequest, 'containerId' | 'ifName'>,
  { mtu, mac }: PodInterfaceWish,
  master: number | undefined,
  netns: Netns,
): Link {
  const name = hostVethName(request);
  const hostSide = master === undefined ? { mac: ROUTED_MAC } : { master, up: true };
  const far = mac === undefined ? {} : { mac };
  const create = (): Link | undefined =>
    node.addLink({
      kind: 'veth',
      name,
      mtu,
      ...hostSide,
      peer: { name: request.ifName, mtu, netns: netns.fd, ...far },
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
  return made;
}

function configurePod(
  kernels: PodInterfaceKernels,
  netns: Netns,
  ifName: string,
  { mode, addresses }: PodInterfaceWish,
  routes: readonly IpamRoute[],
): Link {
  return withKernel(kernels, netns, (pod) => {
    const link = pod.link(ifName);
    if (link === undefined) throw new CniError(CNI_CODE.unknownContainer, `interface ${ifName} vanished`);
    podSettings(netns, ifName);
    const loopback = pod.link('lo');
    if (loopback?.up === false) pod.changeLink(loopback.index, { up: true });
    pod.changeLink(link.index, { up: true });
    for (const { ip, prefixLength, gateway } of addresses) {
      pod.addAddress({
        link: link.index,
        ip,
        prefixLength,
        // Without a gateway the pod has only its neighbours.
        ...(gateway === undefined ? {} : { noPrefixRoute: true }),
        ...(ip.family === 6 ? { noDad: true } : {}),
      });
      // The node's end is known: nobody need ask, and a node without default route would not answer.
      if (mode === 'ptp' && gateway !== undefined)
        pod.setNeighbour({ link: link.index, ip: gateway, mac: ROUTED_MAC });
    }
    for (const route of podRoutes(link.index, addresses, routes)) addUnlessThere(pod, route);
    return link;
  });
}

/**
 * Of two interfaces of a container the first one leads to what both could, as with the plugins of containernetworking.
 * Where that is the gateway itself, the second one still has it on its link.
 */
function addUnlessThere(pod: RouteKernel, route: NewRoute): void {
  try {
    pod.addRoute(route);
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    if (NO_SUCH_GATEWAY.includes(error.code) && route.gateway !== undefined && route.onlink !== true)
      addUnlessThere(pod, { ...route, onlink: true });
    else if (error.code !== 'EEXIST') throw error;
  }
}

/** What the families say of a gateway that the link has no route to. */
const NO_SUCH_GATEWAY = ['ENETUNREACH', 'EHOSTUNREACH', 'EINVAL'];

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
    for (const [key, value] of settings) writeIfThere(key, value);
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

async function ignoringGone(deletion: Promise<void>): Promise<void> {
  try {
    await deletion;
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'ENODEV') throw error;
  }
}

function macOf(link: Link): Mac {
  if (link.mac === undefined) throw new FlatnetError(`device ${link.name} has no MAC`, { code: 'EINVAL' });
  return link.mac;
}
