import type * as z from 'zod';
import { networkSchema, type NetworkConfig } from '../podnet/network-config.ts';
import { subnetFaults } from '../podnet/subnet-range.ts';
import { describeIssue } from '../proxy/config/describe-issue.ts';
import { invalidConfig } from '../proxy/config/read-yaml.ts';

/** Go's encoding/json takes field names in any case, so files have them in any. */
const NAMES = new Map(
  (
    'Network IPv6Network EnableIPv4 EnableIPv6 EnableNFTables Backend SubnetLen SubnetMin SubnetMax ' +
    'IPv6SubnetLen IPv6SubnetMin IPv6SubnetMax Type VNI Port GBP Learning DirectRouting MTU PSK ' +
    'ListenPort ListenPortV6 Mode PersistentKeepaliveInterval'
  )
    .split(' ')
    .map((name) => [name.toLowerCase(), name]),
);

export interface NetConf {
  readonly network: NetworkConfig;
  /** What flannel would not mind, and what is taken otherwise than by flannel: a sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Reads flannel's net-conf.json as flanneld does: field names in any case, unknown ones passed over (and told).
 * Throws INVALID_CONFIG with a line for each field that is wrong.
 */
export function readNetConf(text: string, name: string): NetConf {
  const raw = parseJson(text, name);
  const warnings: string[] = [];
  const canonical = withCanonicalNames(raw);
  let result = networkSchema.safeParse(canonical);
  if (!result.success) {
    const unknown = dropUnknown(canonical, result.error.issues);
    warnings.push(...unknown.map((field) => `${name}: ${field} is not known and has no effect`));
    if (unknown.length > 0) result = networkSchema.safeParse(canonical);
  }
  if (!result.success)
    throw invalidConfig(
      name,
      result.error.issues.flatMap((issue) => describeIssue(issue)),
    );
  if (canonical['Backend'] === undefined)
    warnings.push(
      `${name}: without Backend it is vxlan here, as flannel documents; flanneld itself takes udp`,
    );
  return { network: result.data, warnings: [...warnings, ...divisionWarnings(result.data, name)] };
}

/** What is wrong with SubnetLen, SubnetMin and SubnetMax. With etcd it is refused, where the store reads it. */
export function divisionWarnings({ networks, subnets }: NetworkConfig, name: string): string[] {
  return subnetFaults(networks, subnets).map(
    (fault) =>
      `${name}: ${fault}: refused where it stands in etcd, without effect where Kubernetes gives nodes their pod CIDRs`,
  );
}

function parseJson(text: string, name: string): object {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw invalidConfig(
      name,
      [`is not JSON: ${(error as Error).message}`],
      'write it like {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}',
    );
  }
  if (typeof raw === 'object' && raw !== null && !Array.isArray(raw)) return raw;
  throw invalidConfig(name, ['is not an object']);
}

/** `levels`: Backend alone is an object within. What else is nested, however deep, is left for the schema to refuse. */
function withCanonicalNames(raw: object, levels = 2): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(raw).map(([key, value]: [string, unknown]) => {
      const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
      const inner = isObject && levels > 1 ? withCanonicalNames(value, levels - 1) : value;
      return [NAMES.get(key.toLowerCase()) ?? key, inner];
    }),
  );
}

/** Removes what the issues call unknown; returns its names. */
function dropUnknown(raw: Record<string, unknown>, issues: readonly z.core.$ZodIssue[]): string[] {
  const dropped: string[] = [];
  for (const issue of issues) {
    if (issue.code !== 'unrecognized_keys') continue;
    const holder = issue.path.reduce<unknown>(
      (object, part) => (object as Record<PropertyKey, unknown> | undefined)?.[part],
      raw,
    );
    for (const key of issue.keys) {
      Reflect.deleteProperty(holder as object, key);
      dropped.push([...issue.path.map(String), key].join('.'));
    }
  }
  return dropped;
}
