import type { Cidr } from '../../net/cidr.ts';
import type { AddressKey, FdbKey, NeighbourKey, RouteKey } from './objects.ts';

// How error messages name the objects of rtnetlink.

export function showAddress(address: AddressKey): string {
  return `${address.ip.toString()}/${address.prefixLength} on link ${address.link}`;
}

export function showRoute(route: RouteKey): string {
  const words = [
    ...(route.type === undefined || route.type === 'unicast' ? [] : [route.type]),
    showDestination(route.destination),
    ...(route.gateway === undefined ? [] : [`via ${route.gateway.toString()}`]),
    ...(route.link === undefined ? [] : [`on link ${route.link}`]),
    ...(route.table === undefined ? [] : [`table ${route.table}`]),
  ];
  return words.join(' ');
}

export function showNeighbour(neighbour: NeighbourKey): string {
  return `${neighbour.ip.toString()} on link ${neighbour.link}`;
}

export function showFdb(entry: FdbKey): string {
  const behind = entry.destination === undefined ? '' : ` behind ${entry.destination.toString()}`;
  return `forwarding entry ${entry.mac.toString()}${behind} on link ${entry.link}`;
}

function showDestination(destination: Cidr): string {
  return destination.prefixLength === 0 ? 'default' : destination.toString();
}
