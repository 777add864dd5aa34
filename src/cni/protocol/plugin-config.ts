import * as z from 'zod';
import type { InterfaceMode } from '../attachments/attachment-record.ts';
import { CNI_CODE, CniError } from './cni-error.ts';
import type { Dns } from './dns.ts';
import { isNetworkName } from './identifiers.ts';
import { ipamSchema, type IpamConfig } from './ipam-config.ts';
import { requestedIp, runtimeConfigSchema, unicastMac, type RuntimeConfig } from './runtime-config.ts';

/** What the network configuration says of this plugin, whichever name it is called by. */
export interface PluginConfig {
  /** Empty where none is said. */
  readonly name: string;
  /** The agent's own choice when absent; likewise the bridge. */
  readonly mode: InterfaceMode | undefined;
  readonly bridge: string | undefined;
  /** Smaller than what the network carries, for reasons of the user's own. */
  readonly mtu: number | undefined;
  readonly hairpin: boolean;
  readonly ipam: IpamConfig | undefined;
  readonly dns: Dns | undefined;
  /** With `args.cni` taken in, an older way to say the same. */
  readonly runtimeConfig: RuntimeConfig;
}

const strings = z.array(z.string()).optional();
const dns = z.object({
  nameservers: strings,
  domain: z.string().optional(),
  search: strings,
  options: strings,
});

const mtu = z.int().min(68).max(65_535).optional();

/** Bridge and ptp are the plugins of containernetworking that do each. */
const mode = z.enum(['bridge', 'ptp'], 'must be bridge or ptp').optional();

/** Options of a bridge that has VLANs would be passed over in silence, and pods be where they must not. */
const noVlan = z.literal(0, 'VLANs are not supported').optional();

const own = z.looseObject({
  mode,
  bridge: z.string().optional(),
  mtu,
  hairpinMode: z.boolean().default(true),
  ipam: ipamSchema.nullish(),
});

/**
 * What flannel's plugin hands on to the bridge plugin. The gateway, masquerading and the range are the agent's, as
 * they were flannel's; `subnetFile` and `dataDir` are not needed for that.
 */
const delegate = z.looseObject({
  type: mode,
  bridge: z.string().optional(),
  mtu,
  hairpinMode: z.boolean().default(true),
  vlan: noVlan,
  name: z.undefined("'delegate' must not have a name").optional(),
  ipam: z.undefined("'delegate' must not have an ipam section: it stands beside it").optional(),
});

const flannel = z.looseObject({
  delegate: delegate.prefault({}),
  ipam: ipamSchema.nullish(),
});

const args = z.looseObject({
  cni: z.looseObject({ ips: z.array(requestedIp).nullish(), mac: unicastMac.optional() }).nullish(),
});

const common = z.looseObject({
  type: z.string().default(''),
  name: z
    .string()
    .default('')
    .refine((text) => text === '' || isNetworkName(text), 'is not the name of a network'),
  dns: dns.nullish(),
  runtimeConfig: runtimeConfigSchema.nullish(),
  args: args.nullish(),
});

/** Throws CniError 7 that names the field. */
export function parsePluginConfig(raw: unknown): PluginConfig {
  const config = valid(common, raw);
  const { name, dns: said } = config;
  const asked = runtimeConfigOf(config);
  const shared = {
    name,
    dns: said === null || said === undefined ? undefined : withoutAbsent(said),
    runtimeConfig: asked,
  };
  if (config.type !== 'flannel') {
    const { ipam, hairpinMode, mode: chosen, bridge, mtu: size } = valid(own, raw);
    return {
      ...shared,
      mode: chosen,
      bridge,
      mtu: size,
      hairpin: hairpinMode,
      ipam: ipam ?? undefined,
    };
  }
  const { delegate: handed, ipam } = valid(flannel, raw);
  return {
    ...shared,
    mode: handed.type ?? 'bridge',
    bridge: handed.bridge,
    mtu: handed.mtu,
    hairpin: handed.hairpinMode,
    ipam: ipam ?? undefined,
  };
}

/** Throws CniError 7 that names the field. */
export function valid<T extends z.ZodType>(
  schema: T,
  raw: unknown,
  field: readonly string[] = [],
): z.output<T> {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = [...field, ...(issue?.path ?? [])].map(String).join('.');
  throw new CniError(
    CNI_CODE.invalidConfiguration,
    `network configuration: ${path}: ${issue?.message ?? 'invalid'}`,
  );
}

function runtimeConfigOf(config: z.output<typeof common>): RuntimeConfig {
  const asked = config.runtimeConfig ?? runtimeConfigSchema.parse({});
  const older = config.args?.cni;
  return { ...asked, ips: [...asked.ips, ...(older?.ips ?? [])], mac: asked.mac ?? older?.mac };
}

function withoutAbsent({ nameservers, domain, search, options }: z.output<typeof dns>): Dns {
  return {
    ...(nameservers === undefined ? {} : { nameservers }),
    ...(domain === undefined ? {} : { domain }),
    ...(search === undefined ? {} : { search }),
    ...(options === undefined ? {} : { options }),
  };
}
