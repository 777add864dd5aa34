import type { Link } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { InterfaceMode } from './attachments/attachment-record.ts';
import { openNetns, withKernel, type PodInterfaceKernels } from './container-netns.ts';
import { hostVethName } from './host-veth.ts';
import { hostRoutes, podRoutes, resultRoutes } from './pod-routes.ts';
import type { IpamRoute } from './protocol/ipam-config.ts';
import type { CheckRequest } from './protocol/request.ts';
import type { ContainerAddress } from './protocol/result.ts';

/** What ADD has made, by the node's own memory. */
export interface CheckWish {
  readonly mode: InterfaceMode;
  readonly bridge: string;
  /** As the interface has them. */
  readonly addresses: readonly ContainerAddress[];
  /** As the pool has them; undefined where the configuration gives addresses itself, which nobody reserves. */
  readonly reserved: readonly ContainerAddress[] | undefined;
  readonly routes: readonly IpamRoute[] | undefined;
}

/** CHECK: what of the container's network is not as ADD left it, as separate clauses. Throws CniError 3. */
export function checkPodInterface(
  kernels: PodInterfaceKernels,
  request: CheckRequest,
  wish: CheckWish,
): string[] {
  const netns = openNetns(request.netns);
  try {
    return [
      ...wrongReservations(request, wish),
      ...wrongHostSide(kernels.node, request, wish),
      ...withKernel(kernels, netns, (pod) => wrongPodSide(pod, request.ifName, wish)),
    ];
  } finally {
    netns.close();
  }
}

const format = ({ ip, prefixLength }: ContainerAddress): string => `${ip.toString()}/${prefixLength}`;

function wrongReservations({ expectedAddresses }: CheckRequest, wish: CheckWish): string[] {
  const { addresses, reserved } = wish;
  const held = reserved?.map(({ ip }) => ip.toString());
  if (held?.length === 0) return ['no address is reserved for it'];
  const known = addresses
    .filter(({ ip }) => held === undefined || held.includes(ip.toString()))
    .map((address) => format(address));
  return expectedAddresses
    .filter((address) => !known.includes(address))
    .map((address) => `address ${address} is not reserved for it (but ${known.join(', ')})`);
}

function wrongHostSide(node: RouteKernel, request: CheckRequest, wish: CheckWish): string[] {
  const name = hostVethName(request);
  const veth = node.link(name);
  const wrong = veth === undefined ? [`interface ${name} on the node is missing`] : [];
  if (veth?.up === false) wrong.push(`interface ${name} on the node is down`);
  return [
    ...wrong,
    ...(wish.mode === 'bridge' ? wrongBridge(node, veth, wish) : wrongHostRoutes(node, veth, wish)),
  ];
}

function wrongBridge(
  node: RouteKernel,
  veth: Link | undefined,
  { bridge: name, addresses }: CheckWish,
): string[] {
  const bridge = node.link(name);
  if (bridge === undefined) return [`bridge ${name} is missing`];
  const found = node.addresses({ link: bridge.index });
  const wrong = addresses.flatMap(({ gateway }) =>
    gateway === undefined || found.some(({ ip }) => ip.equals(gateway))
      ? []
      : [`bridge ${name} lacks the gateway address ${gateway.toString()}`],
  );
  if (!bridge.up) wrong.push(`bridge ${name} is down`);
  if (veth !== undefined && veth.master !== bridge.index)
    wrong.push(`interface ${veth.name} is not a port of ${name}`);
  return wrong;
}

function wrongHostRoutes(node: RouteKernel, veth: Link | undefined, { addresses }: CheckWish): string[] {
  if (veth === undefined) return [];
  const routes = node.routes({ link: veth.index });
  return hostRoutes(veth.index, addresses)
    .filter((wanted) => !routes.some(({ destination }) => destination.equals(wanted.destination)))
    .map(({ destination }) => `the node lacks the route to ${destination.toString()} on ${veth.name}`);
}

function wrongPodSide(pod: RouteKernel, ifName: string, wish: CheckWish): string[] {
  const link = pod.link(ifName);
  if (link === undefined) return [`interface ${ifName} in the container is missing`];
  const wrong = link.up ? [] : [`interface ${ifName} in the container is down`];
  const found = pod.addresses({ link: link.index });
  for (const address of wish.addresses) {
    const there = found.some(
      ({ ip, prefixLength }) => ip.equals(address.ip) && prefixLength === address.prefixLength,
    );
    if (!there) wrong.push(`${ifName} in the container lacks the address ${format(address)}`);
  }
  return [...wrong, ...wrongRoutes(pod, link, wish)];
}

function wrongRoutes(pod: RouteKernel, link: Link, { addresses, routes }: CheckWish): string[] {
  // Another interface of the container may have been first.
  const found = pod.routes();
  return podRoutes(link.index, addresses, resultRoutes(addresses, routes))
    .filter(
      (wanted) =>
        !found.some(
          (route) =>
            route.destination.equals(wanted.destination) &&
            route.gateway?.toString() === wanted.gateway?.toString(),
        ),
    )
    .map(({ destination }) => `the container lacks the route to ${destination.toString()}`);
}
