import { Ip } from '../net/ip.ts';
import type { ClusterObjects } from './zone-fixture.ts';

/**
 * The slow version of the zone, for tests: every record of the specification written out as `name TYPE data`, the
 * whole list searched for each question.
 */
export function allRecords(objects: ClusterObjects): string[] {
  const zone = 'cluster.local';
  const records = [`dns-version.${zone} TXT 1.1.0`];
  // Pod names exist for all addresses there are; these are the ones that the tests ask for.
  for (const namespace of objects.namespaces) {
    records.push(
      `10-0-0-1.${namespace}.pod.${zone} A 10.0.0.1`,
      `fd00--1.${namespace}.pod.${zone} AAAA fd00::1`,
    );
  }
  for (const { metadata, spec } of objects.services) {
    const name = `${metadata?.name}.${metadata?.namespace}.svc.${zone}`;
    if (spec?.type === 'ExternalName') {
      records.push(`${name} CNAME ${spec.externalName}`);
      continue;
    }
    const clusterIps = (spec?.clusterIPs ?? []).filter((ip) => ip !== 'None');
    for (const ip of clusterIps) {
      records.push(address(name, ip), `${reverse(ip)} PTR ${name}`);
      for (const port of spec?.ports ?? []) {
        records.push(`${name} SRV ${port.port} ${name}`);
        if (port.name !== undefined) {
          records.push(`_${port.name}._${port.protocol?.toLowerCase()}.${name} SRV ${port.port} ${name}`);
        }
      }
    }
    const slices = objects.slices.filter(
      (slice) =>
        slice.metadata?.namespace === metadata?.namespace &&
        slice.metadata?.labels?.['kubernetes.io/service-name'] === metadata?.name,
    );
    for (const slice of slices) {
      for (const endpoint of slice.endpoints) {
        if (endpoint.conditions?.ready === false && spec?.publishNotReadyAddresses !== true) continue;
        for (const ip of endpoint.addresses) {
          const host = `${endpoint.hostname ?? ip.replaceAll(/[.:]/g, '-')}.${name}`;
          records.push(address(host, ip), `${reverse(ip)} PTR ${host}`);
          if (spec?.clusterIPs?.[0] !== 'None') continue;
          records.push(address(name, ip));
          for (const port of slice.ports ?? []) {
            records.push(`${name} SRV ${port.port} ${host}`);
            if (port.name !== undefined) {
              records.push(`_${port.name}._${port.protocol?.toLowerCase()}.${name} SRV ${port.port} ${host}`);
            }
          }
        }
      }
    }
  }
  return [...new Set(records)];
}

/** The records of a name and type, 'NODATA' where the name or one below it exists, else 'NXDOMAIN'. */
export function search(
  objects: ClusterObjects,
  records: readonly string[],
  name: string,
  type: string,
): string[] {
  const alias = records.filter((record) => record.startsWith(`${name} CNAME `));
  if (alias.length > 0) return alias;
  const found = records.filter((record) => record.startsWith(`${name} ${type} `));
  if (found.length > 0) return found.sort();
  const fixed = objects.namespaces.flatMap((ns) => [`${ns}.svc.cluster.local`, `${ns}.pod.cluster.local`]);
  const names = [...records.map((record) => record.split(' ')[0] ?? ''), ...fixed, 'ns.dns.cluster.local'];
  const exists = names.some((other) => other === name || other.endsWith(`.${name}`));
  return [exists ? 'NODATA' : 'NXDOMAIN'];
}

function address(name: string, ip: string): string {
  return `${name} ${ip.includes(':') ? 'AAAA' : 'A'} ${ip}`;
}

export function reverse(ip: string): string {
  if (!ip.includes(':')) return `${ip.split('.').reverse().join('.')}.in-addr.arpa`;
  const hex = Ip.parse(ip).value.toString(16).padStart(32, '0');
  return `${hex.split('').reverse().join('.')}.ip6.arpa`;
}
