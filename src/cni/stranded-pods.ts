import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import { hostRoutes, POD_ROUTE_PROTOCOL } from './pod-routes.ts';
import type { ContainerAddress } from './protocol/result.ts';

/**
 * Keeps pods on the bridge connected whose addresses are of a subnet that the node has no longer: the route to the node
 * that has it now takes the place of the bridge's own, and with it would go every answer to what such pods ask for.
 * What is left of pods that are gone is removed, as their addresses are that other node's.
 */
export function routeStrandedPods(
  node: RouteKernel,
  bridge: number,
  stranded: readonly ContainerAddress[],
): void {
  const wanted = new Map(hostRoutes(bridge, stranded).map((route) => [route.destination.toString(), route]));
  for (const { destination, link, protocol } of node.routes({ protocol: POD_ROUTE_PROTOCOL })) {
    if (link !== bridge || wanted.delete(destination.toString())) continue;
    node.deleteRoute({ destination, link, protocol });
  }
  for (const route of wanted.values()) node.replaceRoute(route);
}
