import { FlatnetError } from '../errors/flatnet-error.ts';
import type { NewAddress, NewRoute } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Netns } from '../kernel/netns/netns.ts';
import type { InterfaceMode } from './attachments/attachment-record.ts';
import { withKernel, writeIfThere, type PodInterfaceKernels } from './container-netns.ts';
import { podRoutes, ROUTED_MAC } from './pod-routes.ts';
import { CNI_CODE, CniError } from './protocol/cni-error.ts';
import type { IpamRoute } from './protocol/ipam-config.ts';
import type { ContainerAddress } from './protocol/result.ts';

export interface PodConfiguration {
  readonly mode: InterfaceMode;
  readonly addresses: readonly ContainerAddress[];
  readonly routes: readonly IpamRoute[];
  /** The routes are those of the network configuration: what is wrong with them is wrong there. */
  readonly configured: boolean;
}

/** LOOPBACK_IFINDEX of include/net/flow.h: the first device of every namespace. */
const LOOPBACK = 1;

/**
 * Gives the container's end of the veth, whose index is read where it is not known, its settings, addresses and
 * routes. Throws CniErrors and what the kernel says.
 */
export function configurePod(
  kernels: PodInterfaceKernels,
  netns: Netns,
  ifName: string,
  index: number | undefined,
  { mode, addresses, routes, configured }: PodConfiguration,
): void {
  withKernel(kernels, netns, (pod) => {
    const link = index ?? pod.link(ifName)?.index;
    if (link === undefined) throw vanished(ifName);
    podSettings(netns, ifName);
    pod.changeLink(LOOPBACK, { up: true });
    setUp(pod, link, ifName);
    for (const { ip, prefixLength, gateway } of addresses) {
      addAddress(pod, {
        link,
        ip,
        prefixLength,
        // Without a gateway the pod has only its neighbours.
        ...(gateway === undefined ? {} : { noPrefixRoute: true }),
        ...(ip.family === 6 ? { noDad: true } : {}),
      });
      // The node's end is known: nobody need ask, and a node without default route would not answer.
      if (mode === 'ptp' && gateway !== undefined) pod.setNeighbour({ link, ip: gateway, mac: ROUTED_MAC });
    }
    for (const route of podRoutes(link, addresses, routes)) addRoute(pod, route, configured);
  });
}

function setUp(pod: RouteKernel, link: number, ifName: string): void {
  try {
    pod.changeLink(link, { up: true });
  } catch (error) {
    throw codeOf(error) === 'ENODEV' ? vanished(ifName, error) : error;
  }
}

function addAddress(pod: RouteKernel, address: NewAddress): void {
  try {
    pod.addAddress(address);
  } catch (error) {
    const about = `${address.ip.toString()}/${address.prefixLength}`;
    // addrconf_add_dev of net/ipv6/addrconf.c.
    if (codeOf(error) === 'EACCES' && address.ip.family === 6) {
      throw new CniError(
        CNI_CODE.kernelRefused,
        `IPv6 is switched off in the container: it cannot have ${about}`,
        'set net.ipv6.conf.all.disable_ipv6=0 for the pod or the node, or give the network no IPv6 range',
        error,
      );
    }
    throw asConfiguration(error, 'ipam', about);
  }
}

function addRoute(pod: RouteKernel, route: NewRoute, configured: boolean): void {
  try {
    addUnlessThere(pod, route);
  } catch (error) {
    if (!configured) throw error;
    throw asConfiguration(error, 'ipam.routes', route.destination.toString());
  }
}

/**
 * Of two interfaces of a container the first one leads to what both could, as with the plugins of containernetworking.
 * Where that is the gateway itself, the second one still has it on its link.
 */
function addUnlessThere(pod: RouteKernel, route: NewRoute): void {
  try {
    pod.addRoute(route);
  } catch (error) {
    const code = codeOf(error);
    if (NO_SUCH_GATEWAY.includes(code) && route.gateway !== undefined && route.onlink !== true)
      addUnlessThere(pod, { ...route, onlink: true });
    else if (code !== 'EEXIST') throw error;
  }
}

/** What the families say of a gateway that the link has no route to. */
const NO_SUCH_GATEWAY = ['ENETUNREACH', 'EHOSTUNREACH', 'EINVAL'];

/** How the kernel refuses what cannot be, whatever state it is in. */
const NONSENSE = ['EINVAL', 'EEXIST', 'EADDRNOTAVAIL', 'EOPNOTSUPP', 'ERANGE', ...NO_SUCH_GATEWAY];

function asConfiguration(error: unknown, field: string, value: string): unknown {
  if (!(error instanceof FlatnetError) || !NONSENSE.includes(error.code)) return error;
  return new CniError(
    CNI_CODE.invalidConfiguration,
    `network configuration: ${field}: the kernel refuses ${value}: ${error.message}`,
    'correct it there, or leave it out',
    error,
  );
}

const vanished = (ifName: string, cause?: unknown): CniError =>
  new CniError(
    CNI_CODE.unknownContainer,
    `interface ${ifName} vanished`,
    'the container may have ended meanwhile',
    cause,
  );

const codeOf = (error: unknown): string => (error instanceof FlatnetError ? error.code : '');

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
