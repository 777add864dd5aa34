import * as z from 'zod';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { Cidr } from '../net/cidr.ts';
import type { IpFamily } from '../net/ip.ts';

export interface VxlanSettings {
  readonly type: 'vxlan';
  /** VXLAN network identifier; the device is `flannel.<vni>`. */
  readonly vni: number;
  /** UDP port; 8472 is the kernel's own default and flannel's (IANA's 4789 has to be asked for). */
  readonly port: number;
  /** Send unencapsulated to nodes of the same subnet. */
  readonly directRouting: boolean;
  /** The underlay's MTU in bytes, before the encapsulation is taken off; detected when absent. */
  readonly underlayMtu: number | undefined;
}

interface HostGwSettings {
  readonly type: 'host-gw';
  readonly underlayMtu: number | undefined;
}

export type BackendSettings = VxlanSettings | HostGwSettings;

/** flannel's net-conf.json, checked. */
export interface NetworkConfig {
  /** The ranges of all pods of the cluster, one of each family that is enabled. */
  readonly networks: ReadonlyMap<IpFamily, Cidr>;
  readonly backend: BackendSettings;
}

const cidrOf = (family: IpFamily) =>
  z.string().transform((text, context): Cidr => {
    const cidr = Cidr.tryParse(text);
    if (cidr?.family === family) return cidr;
    const example = family === 4 ? '10.244.0.0/16' : 'fd00:10:244::/56';
    context.addIssue({
      code: 'custom',
      message: `"${text}" is not an IPv${family} network; write it like ${example}`,
    });
    return z.NEVER;
  });

/** Below 576 no IPv4 packet is sure to pass (RFC 791); 65535 is the largest IP packet. */
const mtu = z.int().min(576).max(65_535).optional();

const vxlanSchema = z
  .strictObject({
    Type: z.literal('vxlan'),
    VNI: z.int().min(1).max(0xff_ffff).default(1),
    Port: z.int().min(1).max(65_535).default(8472),
    DirectRouting: z.boolean().default(false),
    GBP: z.literal(false, 'group policy is not supported').optional(),
    Learning: z
      .literal(false, 'learning is not supported: every peer is programmed from its Node object')
      .optional(),
    MTU: mtu,
  })
  .transform((raw): BackendSettings => ({
    type: 'vxlan',
    vni: raw.VNI,
    port: raw.Port,
    directRouting: raw.DirectRouting,
    underlayMtu: raw.MTU,
  }));

const hostGwSchema = z
  .strictObject({ Type: z.literal('host-gw'), MTU: mtu })
  .transform((raw): BackendSettings => ({ type: 'host-gw', underlayMtu: raw.MTU }));

const BACKENDS = ['vxlan', 'host-gw'];

const backendSchema = z
  .looseObject({ Type: z.string() })
  .superRefine(({ Type }, context) => {
    if (BACKENDS.includes(Type)) return;
    context.addIssue({
      code: 'custom',
      path: ['Type'],
      message: `unknown backend "${Type}"; known are ${BACKENDS.join(', ')}`,
    });
  })
  .pipe(z.discriminatedUnion('Type', [vxlanSchema, hostGwSchema]));

/** Only the etcd store divides the network itself; with Kubernetes the node's podCIDR says it, so these have no effect. */
const ignored = z.unknown().optional();

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
    SubnetLen: ignored,
    SubnetMin: ignored,
    SubnetMax: ignored,
    IPv6SubnetLen: ignored,
    IPv6SubnetMin: ignored,
    IPv6SubnetMax: ignored,
    Backend: backendSchema.default({
      type: 'vxlan',
      vni: 1,
      port: 8472,
      directRouting: false,
      underlayMtu: undefined,
    }),
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
    return { networks, backend: raw.Backend };
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
