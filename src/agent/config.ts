import * as z from 'zod';
import { isInterfaceName, isNetworkName } from '../cni/protocol/identifiers.ts';
import { isNoHostAnywhere } from '../net/no-host.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { interfacePattern } from '../podnet/interface-pattern.ts';
import { checkServiceRanges, networkSchema, type NetworkConfig } from '../podnet/network-config.ts';
import { etcdSchema } from '../podnet/stores/etcd/settings.ts';
import { completePrefix } from '../podnet/stores/kubernetes/annotation-prefix.ts';
import { parseBindAddress, type BindAddress } from '../proxy/config/bind-address.ts';
import { describeIssue } from '../proxy/config/describe-issue.ts';
import { integer } from '../proxy/config/fields.ts';
import { knownFields as kubeProxyFields } from '../proxy/config/parse.ts';
import { resolveProxyFields } from '../proxy/config/proxy-config.ts';
import { readConfigFile } from '../proxy/config/config-file.ts';
import { cidr, ip } from './address-fields.ts';
import { divisionWarnings, readNetConf } from './net-conf.ts';
import { invalidConfig, readYaml } from '../proxy/config/read-yaml.ts';
import { proxyFields } from '../proxy/config/schema.ts';

const API_VERSION = 'flatnet.dev/v1alpha1';
const KIND = 'AgentConfiguration';

/** Empty switches the server off. */
const bindAddress = z.string().transform((text, context): BindAddress | undefined => {
  if (text === '') return undefined;
  const address = parseBindAddress(text);
  if (address !== undefined) return address;
  context.addIssue({
    code: 'custom',
    message: `"${text}" is not an address and port; write it like 0.0.0.0:10256`,
  });
  return z.NEVER;
});

const absolutePath = z.string().startsWith('/', 'must be an absolute path');

/** One or several. */
const listOf = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (value === undefined ? [] : Array.isArray(value) ? (value as unknown[]) : [value]),
    z.array(item),
  );

/** Throws what `check` throws as an issue of the field. */
const checked = <T>(check: (text: string) => T) =>
  z.string().transform((text, context): T => {
    try {
      return check(text);
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  });

const pattern = checked((text) => {
  interfacePattern(text);
  return text;
});

const deviceName = z.string().refine(isInterfaceName, 'is not the name of a network device');

const OWN_NAMES = ['flatnet', 'flannel'] as const;

/** A file of binDir (libcni, FindInPath), and none of those that this plugin is installed as: it would call itself. */
const chainedType = z.string().superRefine((text, context) => {
  const complain = (message: string): void => context.addIssue({ code: 'custom', message });
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text)) {
    complain(
      `${JSON.stringify(text)} is not the name of a plugin: name a file of the CNI folder, as "tuning"`,
    );
  } else if ((OWN_NAMES as readonly string[]).includes(text)) {
    complain(`${text} is this plugin, and the first of the list already: leave it out`);
  }
});

const cniSchema = z.strictObject({
  /** flannel's own name: a node that ran flannel keeps its reservations. */
  networkName: z.string().refine(isNetworkName, 'is not the name of a network').default('cbr0'),
  /** Pods on a bridge, or routed one by one: the plugins of containernetworking that do each are called so. */
  mode: z.enum(['bridge', 'ptp'], 'must be bridge or ptp').default('bridge'),
  bridge: deviceName.default('cni0'),
  /** Names under which the plugin is installed; as flannel it serves configurations that were written for that. */
  pluginNames: z
    .array(z.enum(OWN_NAMES, 'must be flatnet or flannel'))
    .transform((names) => [...new Set(['flatnet', ...names])])
    .prefault([]),
  /** Plugins that the conflist has behind this one, as they shall stand there. */
  chainedPlugins: z.array(z.looseObject({ type: chainedType })).default([]),
  confDir: absolutePath.default('/etc/cni/net.d'),
  confFile: z
    .string()
    .regex(/^[^/]+\.conflist$/, 'must be a file name that ends in .conflist')
    .default('10-flatnet.conflist'),
  binDir: absolutePath.default('/opt/cni/bin'),
  dataDir: absolutePath.default('/var/lib/cni/networks'),
  /** sun_path has 108 bytes, its NUL included; the plugin reads it out of JSON without unescaping. */
  socketPath: absolutePath
    .regex(/^[^"\\\s]{1,107}$/, 'is too long or has characters that it must not')
    .default('/run/flatnet/cni.sock'),
});

/** Fields of KubeProxyConfiguration, those apart that the agent has a place of its own for. */
const proxySchema = z
  .strictObject({
    ...proxyFields,
    /** Absent or 0: as it is, for what starts the agent says how much it counts. */
    oomScoreAdj: integer(0, -1000, 1000),
    /** False where kube-proxy (or nobody) serves Services. */
    enabled: z.boolean().default(true),
  })
  .transform(({ enabled, ...fields }, context) => ({
    enabled,
    ...resolveProxyFields(fields, 'nftables', context),
  }));

const configSchema = z
  .strictObject({
    apiVersion: z.literal(API_VERSION, `must be ${API_VERSION}`),
    kind: z.literal(KIND, `must be ${KIND}`),
    network: networkSchema.optional(),
    /** As flannel's --net-config-path: flannel's net-conf.json, in place of `network`. */
    netConfigPath: absolutePath.optional(),
    /** Where nodes find each other: the Kubernetes API, or etcd as flannel without --kube-subnet-mgr. */
    store: z.strictObject({ etcd: etcdSchema.optional() }).prefault({}),
    kubeAnnotationPrefix: checked(completePrefix).prefault('flannel.alpha.coreos.com'),
    /** As flannel's --iface: interface, by name or address, that carries the cluster; the first that is there. */
    iface: listOf(z.string().min(1)),
    /** As flannel's --iface-regex, looked at after `iface`. */
    ifaceRegex: listOf(pattern),
    /** As flannel's --iface-can-reach. */
    ifaceCanReach: ip.optional(),
    /** As Calico's `cidr=`. */
    ifaceCidr: listOf(cidr),
    /** As Calico's `skip-interface=`. */
    skipInterface: listOf(pattern),
    /** What pods' MTU is made of: the smallest underlay of all nodes, or the own one alone. */
    podMTU: z.enum(['cluster', 'node'], 'must be cluster or node').default('cluster'),
    /** Pods' TCP connections never use segments that do not fit, even where ICMP is dropped on the way. */
    clampMSS: z.boolean().default(false),
    /** As flannel's --public-ip: the address that other nodes send to, where it is not the interface's. */
    publicIP: ip.optional(),
    publicIPv6: ip.optional(),
    /** As flannel's --ip-masq. */
    ipMasq: z.boolean().default(true),
    subnetFile: absolutePath.default('/run/flannel/subnet.env'),
    serviceCIDRs: z.array(cidr).default([]),
    cni: cniSchema.prefault({}),
    proxy: z.preprocess((value) => value ?? {}, proxySchema),
    healthzBindAddress: bindAddress.prefault('0.0.0.0:10256'),
    metricsBindAddress: bindAddress.prefault('127.0.0.1:10249'),
    logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error']).optional(),
  })
  .superRefine(({ network, netConfigPath, store }, context) => {
    const given = Object.entries({ network, netConfigPath, 'store.etcd': store.etcd }).flatMap(
      ([field, value]) => (value === undefined ? [] : [field]),
    );
    if (given.length === 1) return;
    const message =
      given.length === 0
        ? 'is missing, and so are netConfigPath and store.etcd, which would tell it'
        : `the network is told twice, by ${given.join(' and by ')}`;
    context.addIssue({ code: 'custom', path: ['network'], message });
  })
  .superRefine((config, context) => {
    for (const [field, family] of [
      ['publicIP', 4],
      ['publicIPv6', 6],
    ] as const) {
      const value = config[field];
      if (value === undefined || (value.family === family && !isNoHostAnywhere(value))) continue;
      const fault = value.family === family ? 'no address of a node' : `not an IPv${family} address`;
      context.addIssue({ code: 'custom', path: [field], message: `${value.toString()} is ${fault}` });
    }
  });

/** What the file says; `network` is missing where it is in etcd. */
export type AgentFile = z.output<typeof configSchema>;

export interface AgentConfig extends AgentFile {
  readonly network: NetworkConfig;
}

/** Fields that flags set, in place of those of the file. */
export type Overrides = Readonly<Record<string, unknown>>;

export interface LoadedConfig {
  readonly config: AgentFile;
  /** What has no effect, a sentence each. */
  readonly warnings: readonly string[];
}

/**
 * Reads and checks the file, and the net-conf.json that it names. Without a file, what the flags say is all there is.
 * Throws INVALID_CONFIG with one line for each thing that is wrong.
 */
export async function loadConfig(path: string | undefined, overrides: Overrides = {}): Promise<LoadedConfig> {
  const config =
    path === undefined
      ? parseFields({ apiVersion: API_VERSION, kind: KIND }, 'flags', overrides)
      : parseConfig(await readConfigFile(path), path, overrides);
  const { netConfigPath } = config;
  if (netConfigPath === undefined) {
    const warnings =
      config.network === undefined ? [] : divisionWarnings(config.network, `${path ?? 'flags'}: network`);
    return { config, warnings };
  }
  const { network, warnings } = readNetConf(await readConfigFile(netConfigPath), netConfigPath);
  checkNetwork({ ...config, network }, netConfigPath);
  return { config: { ...config, network }, warnings };
}

export function parseConfig(text: string, name: string, overrides: Overrides = {}): AgentFile {
  return parseFields(readYaml(text, name), name, overrides);
}

function parseFields(raw: unknown, name: string, overrides: Overrides): AgentFile {
  const isObject = typeof raw === 'object' && raw !== null && !Array.isArray(raw);
  const result = configSchema.safeParse(isObject ? { ...raw, ...overrides } : raw);
  if (!result.success) {
    throw invalidConfig(
      name,
      result.error.issues.flatMap((issue) => describeIssue(issue, knownFields())),
    );
  }
  const { network } = result.data;
  if (network !== undefined) checkNetwork({ ...result.data, network }, name);
  return result.data;
}

/** Throws RANGES_OVERLAP, INVALID_CONFIG. */
export function checkNetwork(
  { network, publicIP, publicIPv6, serviceCIDRs }: AgentConfig,
  name: string,
): void {
  checkServiceRanges(network, serviceCIDRs);
  // Behind address translation the nodes cannot be each other's routers.
  if (network.backend.type === 'host-gw' && (publicIP ?? publicIPv6) !== undefined) {
    throw invalidConfig(name, ['publicIP: host-gw needs the address of the interface itself']);
  }
}

/** Fields that there are, for a hint at what an unknown one was meant to be. */
function knownFields(): string[] {
  const ofProxy = kubeProxyFields().filter((field) => (field.split('.')[0] ?? '') in proxyFields);
  return [
    ...Object.keys(configSchema.shape),
    ...Object.keys(cniSchema.shape).map((field) => `cni.${field}`),
    ...ofProxy.map((field) => `proxy.${field}`),
  ];
}
