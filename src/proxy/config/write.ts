import { stringify } from 'yaml';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { formatBindAddress } from './bind-address.ts';
import { formatDuration } from './duration.ts';
import type { KubeProxyConfig } from './proxy-config.ts';

const DURATIONS = /(?:Period|Timeout|flushFrequency)$/;

/** The configuration as a file that kube-proxy would write: fields in the order of the alphabet, defaults filled in. */
export function writeKubeProxyConfig(config: KubeProxyConfig): string {
  const { udpIdleTimeout, resourceContainer, ...rest } = config;
  const { portRange, nodePortAddresses, clusterCIDR, conntrack } = rest;
  const { max, ...conntrackOfToday } = conntrack;
  return stringify(
    plain({
      ...rest,
      // Of earlier kube-proxies: a file of today has them only where they say something.
      ...(udpIdleTimeout === 250 ? {} : { udpIdleTimeout }),
      ...(resourceContainer === '' ? {} : { resourceContainer }),
      conntrack: max === 0 ? conntrackOfToday : conntrack,
      bindAddress: config.bindAddress ?? '0.0.0.0',
      clusterCIDR: clusterCIDR.join(','),
      nodePortAddresses: nodePortAddresses === 'all' ? null : [nodePortAddresses].flat(),
      portRange: portRange === undefined ? '' : `${portRange.first}-${portRange.last}`,
      healthzBindAddress: address(config.healthzBindAddress),
      metricsBindAddress: address(config.metricsBindAddress),
    }),
    { sortMapEntries: true },
  );
}

const address = (given: KubeProxyConfig['healthzBindAddress']): string =>
  given === undefined ? '' : formatBindAddress(given);

function plain(value: unknown, name = ''): unknown {
  if (value instanceof Ip || value instanceof Cidr) return value.toString();
  if (typeof value === 'number' && DURATIONS.test(name)) return formatDuration(value);
  if (Array.isArray(value)) return value.map((item) => plain(item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner, key)]));
}
