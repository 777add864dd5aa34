import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServicePort } from '../../services/service-port.ts';
import type { EndpointSet } from './balancer.ts';
import type { Entry } from './entries.ts';

/** Who calls: one of this node's pods, the node itself, or somebody else. */
export type CallerKind = 'pod' | 'node' | 'other';

/** What tells callers apart where no rule has done so. */
export type KindOf = (source: string) => CallerKind;

/**
 * From which endpoints a caller gets one, by the address that he called; undefined: he may not. The same that
 * `entryRules` says in rules.
 */
export function admittedSet(
  port: ServicePort,
  entry: Entry,
  source: string,
  kindOf: KindOf,
): EndpointSet | undefined {
  if (entry.kind === 'cluster') return port.internalLocal ? 'local' : 'all';
  if (entry.kind === 'load-balancer' && !isInRange(port, source)) return undefined;
  return port.externalLocal && kindOf(source) === 'other' ? 'local' : 'all';
}

/** Whether there is anybody whom this entry could lead to an endpoint. */
export function canServe(port: ServicePort, entry: Entry): boolean {
  const isLocal = entry.kind === 'cluster' ? port.internalLocal : port.externalLocal;
  if (!isLocal) return port.endpoints.length > 0;
  return port.localEndpoints.length > 0 || (entry.kind !== 'cluster' && port.endpoints.length > 0);
}

function isInRange({ sourceRanges, loadBalancerIps }: ServicePort, source: string): boolean {
  if (sourceRanges === undefined) return true;
  const ip = Ip.parse(source);
  // The node that has a VIP on one of its own devices calls it with the VIP as its source.
  return loadBalancerIps.includes(source) || sourceRanges.some((range) => Cidr.parse(range).contains(ip));
}
