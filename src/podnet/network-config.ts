import * as z from 'zod';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip, type IpFamily } from '../net/ip.ts';
import { isNoHostAnywhere } from '../net/no-host.ts';
import { allocSchema, type AllocSettings } from './backends/alloc/settings.ts';
import { hostGwSchema, type HostGwSettings } from './backends/hostgw/settings.ts';
import { ipipSchema, type IpipSettings } from './backends/ipip/settings.ts';
import { udpSchema, type UdpSettings } from './backends/udp/settings.ts';
import { vxlanSchema, type VxlanSettings } from './backends/vxlan/settings.ts';
import { wireguardSchema, type WireguardSettings } from './backends/wireguard/settings.ts';
import type { SubnetFields } from './subnet-range.ts';

export type BackendSettings =
  | VxlanSettings
  | HostGwSettings
  | IpipSettings
  | WireguardSettings
  | UdpSettings
  | AllocSettings;

/** flannel's net-conf.json, checked. */
export interface NetworkConfig {
  /** The ranges of all pods of the cluster, one of each family that is enabled. */
  readonly networks: ReadonlyMap<IpFamily, Cidr>;
  /** How the networks are divided, as written; only the etcd store reads it (subnet-range.ts). */
  readonly subnets: ReadonlyMap<IpFamily, SubnetFields>;
  readonly backend: BackendSettings;
}

const cidrOf = (family: IpFamily) =>
  z.string().transform((text, context): Cidr => {
    const cidr = Cidr.tryParse(text);
    const isOfHosts = cidr !== undefined && !isNoHostAnywhere(cidr.first) && !isNoHostAnywhere(cidr.last);
    if (cidr?.family === family && isOfHosts) return cidr;
    const example = family === 4 ? '10.244.0.0/16' : 'fd00:10:244::/56';
    const fault =
      cidr?.family === family ? 'has addresses that no pod can have' : `is not an IPv${family} network`;
    context.addIssue({ code: 'custom', message: `"${text}" ${fault}; write it like ${example}` });
    return z.NEVER;
  });

const ipOf = (family: IpFamily) =>
  z
    .string()
    .transform((text, context): Ip => {
      const ip = Ip.tryParse(text);
      if (ip?.family === family) return ip;
      context.addIssue({ code: 'custom', message: `"${text}" is not an IPv${family} address` });
      return z.NEVER;
    })
    .optional();

const BACKENDS = ['vxlan', 'host-gw', 'ipip', 'wireguard', 'udp', 'alloc'];

export const backendSchema = z
  .looseObject({ Type: z.string() })
  .superRefine(({ Type }, context) => {
    if (BACKENDS.includes(Type)) return;
    context.addIssue({
      code: 'custom',
      path: ['Type'],
      message: `unknown backend "${Type}"; known are ${BACKENDS.join(', ')}`,
    });
  })
  .pipe(
    z.discriminatedUnion('Type', [
      vxlanSchema,
      hostGwSchema,
      ipipSchema,
      wireguardSchema,
      udpSchema,
      allocSchema,
    ]),
  );

/** The rules of the proxy are a matter of its own mode. */
const ignored = z.unknown().optional();

/** Of flannel's backends those whose formats have no place for IPv6. */
const IPV4_ONLY: readonly string[] = ['ipip', 'udp'];

/**
 * The object of flannel's net-conf.json. Without Backend it is vxlan, as flannel documents (its code, unlike its
 * documentation, would take udp).
 */
export const networkSchema = z
  .strictObject({
    Network: cidrOf(4).optional(),
    IPv6Network: cidrOf(6).optional(),
    EnableIPv4: z.boolean().default(true),
    EnableIPv6: z.boolean().default(false),
    EnableNFTables: ignored,
    SubnetLen: z.int().min(0).max(30).optional(),
    SubnetMin: ipOf(4),
    SubnetMax: ipOf(4),
    IPv6SubnetLen: z.int().min(0).max(126).optional(),
    IPv6SubnetMin: ipOf(6),
    IPv6SubnetMax: ipOf(6),
    Backend: backendSchema.default(() => vxlanSchema.parse({ Type: 'vxlan' })),
  })
  .transform((raw, context): NetworkConfig => {
    const networks = new Map<IpFamily, Cidr>();
    const families = [
      [4, raw.EnableIPv4, raw.Network, 'Network', 'EnableIPv4'],
      [6, raw.EnableIPv6, raw.IPv6Network, 'IPv6Network', 'EnableIPv6'],
    ] as const;
    for (const [family, enabled, network, field, switchField] of families) {
      if (!enabled) continue;
      if (network !== undefined) networks.set(family, network);
      else
        context.addIssue({
          code: 'custom',
          path: [field],
          message: `missing, although ${switchField} is true`,
        });
    }
    if (!raw.EnableIPv4 && !raw.EnableIPv6) {
      context.addIssue({
        code: 'custom',
        path: ['EnableIPv4'],
        message: 'neither EnableIPv4 nor EnableIPv6 is true',
      });
    }
    if (raw.EnableIPv6 && IPV4_ONLY.includes(raw.Backend.type)) {
      context.addIssue({
        code: 'custom',
        path: ['EnableIPv6'],
        message: `must be false: the backend ${raw.Backend.type} carries IPv4 only`,
      });
    }
    const subnets = new Map<IpFamily, SubnetFields>([
      [4, { length: raw.SubnetLen, min: raw.SubnetMin, max: raw.SubnetMax }],
      [6, { length: raw.IPv6SubnetLen, min: raw.IPv6SubnetMin, max: raw.IPv6SubnetMax }],
    ]);
    return { networks, subnets, backend: raw.Backend };
  });

/** Throws RANGES_OVERLAP where a pod range meets a service range, naming both fields. */
export function checkServiceRanges(network: NetworkConfig, serviceCidrs: readonly Cidr[]): void {
  for (const [family, cidr] of network.networks) {
    for (const services of serviceCidrs) {
      if (!cidr.overlaps(services)) continue;
      const field = family === 4 ? 'network.Network' : 'network.IPv6Network';
      throw new FlatnetError(
        `${field} ${cidr.toString()} overlaps the Service range ${services.toString()} (serviceCIDRs)`,
        { code: 'RANGES_OVERLAP', hint: 'choose ranges apart: a pod could get the address of a Service' },
      );
    }
  }
}
