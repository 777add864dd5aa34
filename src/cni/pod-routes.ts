import type { NewRoute } from '../kernel/netlink/objects.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { Mac } from '../net/mac.ts';
import type { IpamRoute } from './protocol/ipam-config.ts';
import type { ContainerAddress } from './protocol/result.ts';

/** What the node's end of a routed interface is, as with Calico: the same for every pod, so that pods can move. */
export const ROUTED_MAC = Mac.parse('ee:ee:ee:ee:ee:ee');
const ROUTED_GATEWAY_V4 = Ip.parse('169.254.1.1');
/** Follows from the MAC (RFC 4291, appendix A). */
export const ROUTED_GATEWAY_V6 = Ip.parse('fe80::ecee:eeff:feee:eeee');

/** RTPROT_BOOT, as `ip route add` and the plugins of containernetworking leave it. */
const PROTOCOL_BOOT = 3;

/** Of the node's routes to its pods; 70 is the pod network's, which prunes what it does not know. */
export const POD_ROUTE_PROTOCOL = 72;

/** The same addresses as a pod has them that is alone on its link. */
export function routedAddresses(addresses: readonly ContainerAddress[]): ContainerAddress[] {
  return addresses.map(({ ip }) => ({
    ip,
    prefixLength: hostLength(ip),
    gateway: ip.family === 4 ? ROUTED_GATEWAY_V4 : ROUTED_GATEWAY_V6,
  }));
}

/** The routes of the result: those of the configuration, else everything by way of the gateway. */
export function resultRoutes(
  addresses: readonly ContainerAddress[],
  configured: readonly IpamRoute[] | undefined,
): IpamRoute[] {
  const gatewayOf = (family: number): Ip | undefined =>
    addresses.find(({ ip, gateway }) => ip.family === family && gateway !== undefined)?.gateway;
  if (configured !== undefined) {
    return configured.map((route) => ({ ...route, gw: route.gw ?? gatewayOf(route.dst.family) }));
  }
  const families = [...new Set(addresses.map(({ ip }) => ip.family))];
  return families.flatMap((family) => {
    const gw = gatewayOf(family);
    const dst = Cidr.parse(family === 4 ? '0.0.0.0/0' : '::/0');
    return gw === undefined ? [] : [{ dst, gw, mtu: undefined, priority: undefined, table: undefined }];
  });
}

/** What the pod's kernel gets: gateways on the link first, then what goes by way of them. */
export function podRoutes(
  link: number,
  addresses: readonly ContainerAddress[],
  routes: readonly IpamRoute[],
): NewRoute[] {
  const gateways = new Map<string, Ip>();
  for (const { gateway } of addresses) if (gateway !== undefined) gateways.set(gateway.toString(), gateway);
  for (const { gw } of routes) if (gw !== undefined) gateways.set(gw.toString(), gw);
  const onLink = [...gateways.values()].map((gateway): NewRoute => {
    const source = addresses.find(({ ip }) => ip.family === 4 && gateway.family === 4)?.ip;
    const destination = new Cidr(gateway, hostLength(gateway));
    return { destination, link, protocol: PROTOCOL_BOOT, ...(source === undefined ? {} : { source }) };
  });
  const through = routes.map(({ dst, gw, mtu, priority, table }): NewRoute => ({
    destination: dst,
    link,
    protocol: PROTOCOL_BOOT,
    ...(gw === undefined ? {} : { gateway: gw }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(priority === undefined ? {} : { metric: priority }),
    ...(table === undefined ? {} : { table }),
  }));
  return [...onLink, ...through];
}

/** The node's routes to a pod that is routed. */
export function hostRoutes(link: number, addresses: readonly ContainerAddress[]): NewRoute[] {
  return addresses.map(({ ip }) => ({
    destination: new Cidr(ip, hostLength(ip)),
    link,
    protocol: POD_ROUTE_PROTOCOL,
  }));
}

const hostLength = (ip: Ip): number => (ip.family === 4 ? 32 : 128);
