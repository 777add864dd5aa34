import type { Route } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Cidr } from '../net/cidr.ts';
import { POD_ROUTE_PROTOCOL } from './pod-routes.ts';

/**
 * On a node that routes to each pod, packets to an address of its range that no pod has would leave by the default
 * route and come back. Removes what is left of an earlier pod CIDR.
 */
export function blackholeUnused(node: RouteKernel, podCidrs: readonly Cidr[]): void {
  for (const destination of podCidrs) {
    node.replaceRoute({ destination, type: 'blackhole', protocol: POD_ROUTE_PROTOCOL });
  }
  remove(node, (route) => !podCidrs.some((cidr) => cidr.equals(route.destination)));
}

/** For a node with a bridge, whose own route for the range it would hide. */
export function withoutBlackholes(node: RouteKernel): void {
  remove(node, () => true);
}

function remove(node: RouteKernel, unwanted: (route: Route) => boolean): void {
  for (const route of node.routes({ protocol: POD_ROUTE_PROTOCOL })) {
    if (route.type !== 'blackhole' || !unwanted(route)) continue;
    node.deleteRoute({ destination: route.destination, type: 'blackhole', protocol: POD_ROUTE_PROTOCOL });
  }
}
