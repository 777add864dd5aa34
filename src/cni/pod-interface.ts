import { randomBytes } from 'node:crypto';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Link } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Netns } from '../kernel/netns/netns.ts';
import { Mac } from '../net/mac.ts';
import type { InterfaceMode } from './attachments/attachment-record.ts';
import { openContainer, openIfThere, writeIfThere, type PodInterfaceKernels } from './container-netns.ts';
import { hostVethName } from './host-veth.ts';
import { configurePod } from './pod-configuration.ts';
import { hostRoutes, resultRoutes, ROUTED_GATEWAY_V6, ROUTED_MAC } from './pod-routes.ts';
import { CNI_CODE, CniError } from './protocol/cni-error.ts';
import type { Dns } from './protocol/dns.ts';
import type { IpamRoute } from './protocol/ipam-config.ts';
import type { AddRequest, Attachment } from './protocol/request.ts';
import type { AddResult, ContainerAddress } from './protocol/result.ts';

export interface PodInterfaceWish {
  readonly mode: InterfaceMode;
  /** Of mode bridge. */
  readonly bridge: string;
  /** As it was when last looked at; spares looking again. */
  readonly knownBridge?: Link | undefined;
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
  const netns = openContainer(request.netns);
  try {
    // Chosen here, so that it need not be read back.
    const mac = wish.mac ?? randomMac();
    const { host, bridge } = makeHostSide(kernels.node, request, { ...wish, mac }, netns);
    try {
      if (bridge === undefined) routeToPod(kernels.node, host, wish.addresses);
      else setUpPort(kernels.node, host, wish.hairpin);
      const routes = resultRoutes(wish.addresses, wish.routes);
      const configured = wish.routes !== undefined;
      configurePod(kernels, netns, request.ifName, host.parent, { ...wish, routes, configured });
      return {
        bridge: bridge && { name: bridge.name, mac: macOf(bridge) },
        host: { name: host.name, mac: macOf(host) },
        container: { name: request.ifName, mac, netns: request.netns },
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
  if (await wasThere(kernels.node.deleteLinkElsewhere(hostVethName(target)))) return;
  // Made by another plugin before this one took over: its name is not known, but its far end's is.
  const netns = netnsPath === undefined ? undefined : openIfThere(netnsPath);
  if (netns === undefined) return;
  try {
    const pod = kernels.open(netns.fd);
    try {
      const link = pod.link(target.ifName);
      if (link?.kind === 'veth') await wasThere(pod.deleteLinkElsewhere(link.index));
    } finally {
      pod.close();
    }
  } finally {
    netns.close();
  }
}

/**
 * A port of a bridge is no end of anything. A link-local address of its own, as the kernel gives it when it comes up,
 * would only be one more address of the node for everybody who follows those.
 */
function setUpPort(node: RouteKernel, { index }: Link, hairpin: boolean): void {
  const port = { hairpin };
  try {
    // A message of its own: the kernel sets a link up before it reads this.
    node.changeLink(index, { port, addrGenMode: 'none' });
    node.changeLink(index, { up: true });
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'EAFNOSUPPORT') throw error;
    node.changeLink(index, { up: true, port });
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

function createAnew(
  node: RouteKernel,
  { ifName }: Pick<AddRequest, 'ifName'>,
  name: string,
  create: () => Link | undefined,
): Link | undefined {
  try {
    return create();
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'EEXIST') throw error;
    // Left by an ADD that was cut off: the address was not reserved any more, so nobody uses it.
    const left = node.link(name);
    if (left === undefined) {
      throw new CniError(CNI_CODE.invalidEnvironment, `CNI_IFNAME ${ifName} exists in the container already`);
    }
    node.deleteLink(left.index);
    return create();
  }
}

/** The veth, and the bridge that its near end is a port of. */
function makeHostSide(
  node: RouteKernel,
  request: Pick<AddRequest, 'containerId' | 'ifName'>,
  wish: PodInterfaceWish,
  netns: Netns,
): { readonly host: Link; readonly bridge: Link | undefined } {
  if (wish.mode === 'ptp')
    return { bridge: undefined, host: makeVeth(node, request, wish, undefined, netns) };
  const known = wish.knownBridge?.name === wish.bridge ? wish.knownBridge : undefined;
  if (known !== undefined) {
    try {
      return { bridge: known, host: makeVeth(node, request, wish, known.index, netns) };
    } catch (error) {
      // Somebody has removed it, or made it anew.
      if (node.link(wish.bridge)?.index === known.index) throw error;
    }
  }
  const bridge = bridgeOf(node, wish.bridge);
  return { bridge, host: makeVeth(node, request, wish, bridge.index, netns) };
}

/** Locally administered, as the kernel chooses its own (eth_random_addr). */
function randomMac(): Mac {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return new Mac(bytes);
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
  const hostSide = master === undefined ? { mac: ROUTED_MAC } : { master };
  const far = mac === undefined ? {} : { mac };
  const create = (): Link | undefined =>
    node.addLink({
      kind: 'veth',
      name,
      mtu,
      ...hostSide,
      peer: { name: request.ifName, mtu, netns: netns.fd, ...far },
    });
  const made = createAnew(node, request, name, create) ?? node.link(name);
  if (made === undefined) throw new CniError(CNI_CODE.tryAgainLater, `interface ${name} vanished`);
  return made;
}

/** False for what was gone already. */
async function wasThere(deletion: Promise<void>): Promise<boolean> {
  try {
    await deletion;
    return true;
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'ENODEV') throw error;
    return false;
  }
}

function macOf(link: Link): Mac {
  if (link.mac === undefined) throw new FlatnetError(`device ${link.name} has no MAC`, { code: 'EINVAL' });
  return link.mac;
}
