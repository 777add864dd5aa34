import type { Link } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import { hostVethName } from './host-veth.ts';
import { openNetns, podRoutes, withKernel, type PodInterfaceKernels } from './pod-interface.ts';
import { CNI_CODE, CniError } from './protocol/cni-error.ts';
import type { CheckRequest } from './protocol/request.ts';
import type { ContainerAddress } from './protocol/result.ts';

/**
 * CHECK: whether the container's network is as ADD left it. Throws CniError 101 that lists all that is not, as
 * separate clauses.
 */
export function checkPodInterface(
  kernels: PodInterfaceKernels,
  request: CheckRequest,
  bridge: string,
  reserved: readonly ContainerAddress[],
): void {
  const netns = openNetns(request.netns);
  try {
    const wrong = [
      ...wrongReservations(request, reserved),
      ...wrongHostSide(kernels.node, request, bridge, reserved),
      ...withKernel(kernels, netns, (pod) => wrongPodSide(pod, request.ifName, reserved)),
    ];
    if (wrong.length === 0) return;
    throw new CniError(
      CNI_CODE.checkFailed,
      `container ${request.containerId}: ${wrong.join('; ')}`,
      'the runtime should make the sandbox anew',
    );
  } finally {
    netns.close();
  }
}

function wrongReservations(
  { expectedAddresses }: CheckRequest,
  reserved: readonly ContainerAddress[],
): string[] {
  const held = reserved.map(({ ip, prefixLength }) => `${ip.toString()}/${prefixLength}`);
  if (held.length === 0) return ['no address is reserved for it'];
  return expectedAddresses
    .filter((address) => !held.includes(address))
    .map((address) => `address ${address} is not reserved for it (but ${held.join(', ')})`);
}

function wrongHostSide(
  node: RouteKernel,
  request: CheckRequest,
  bridgeName: string,
  reserved: readonly ContainerAddress[],
): string[] {
  const name = hostVethName(request);
  const bridge = node.link(bridgeName);
  if (bridge === undefined) return [`bridge ${bridgeName} is missing`];
  const gateways = node.addresses({ link: bridge.index });
  const wrong = reserved
    .filter(({ gateway }) => !gateways.some(({ ip }) => ip.equals(gateway)))
    .map(({ gateway }) => `bridge ${bridgeName} lacks the gateway address ${gateway.toString()}`);
  if (!bridge.up) wrong.push(`bridge ${bridgeName} is down`);
  const veth = node.link(name);
  if (veth === undefined) return [...wrong, `interface ${name} on the node is missing`];
  if (veth.master !== bridge.index) wrong.push(`interface ${name} is not a port of ${bridgeName}`);
  if (!veth.up) wrong.push(`interface ${name} on the node is down`);
  return wrong;
}

function wrongPodSide(pod: RouteKernel, ifName: string, reserved: readonly ContainerAddress[]): string[] {
  const link = pod.link(ifName);
  if (link === undefined) return [`interface ${ifName} in the container is missing`];
  const wrong = link.up ? [] : [`interface ${ifName} in the container is down`];
  const addresses = pod.addresses({ link: link.index });
  for (const { ip, prefixLength } of reserved) {
    const there = addresses.some((address) => address.ip.equals(ip) && address.prefixLength === prefixLength);
    if (!there) wrong.push(`${ifName} in the container lacks the address ${ip.toString()}/${prefixLength}`);
  }
  return [...wrong, ...wrongRoutes(pod, link, reserved)];
}

function wrongRoutes(pod: RouteKernel, link: Link, reserved: readonly ContainerAddress[]): string[] {
  const routes = pod.routes({ link: link.index });
  return podRoutes(link.index, reserved)
    .filter(
      (wanted) =>
        !routes.some(
          (route) =>
            route.destination.equals(wanted.destination) &&
            route.gateway?.toString() === wanted.gateway?.toString(),
        ),
    )
    .map(({ destination }) => `the container lacks the route to ${destination.toString()}`);
}
