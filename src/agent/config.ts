import * as z from 'zod';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { checkServiceRanges, networkSchema } from '../podnet/network-config.ts';
import { parseBindAddress, type BindAddress } from '../proxy/config/bind-address.ts';
import { describeIssue } from '../proxy/config/describe-issue.ts';
import { integer } from '../proxy/config/fields.ts';
import { knownFields as kubeProxyFields } from '../proxy/config/parse.ts';
import { resolveProxyFields } from '../proxy/config/proxy-config.ts';
import { readConfigFile } from '../proxy/config/config-file.ts';
import { invalidConfig, readYaml } from '../proxy/config/read-yaml.ts';
import { proxyFields } from '../proxy/config/schema.ts';

const cidr = z.string().transform((text, context): Cidr => {
  const parsed = Cidr.tryParse(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: `"${text}" is not a network in CIDR notation` });
  return z.NEVER;
});

const ip = z.string().transform((text, context): Ip => {
  const parsed = Ip.tryParse(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: `"${text}" is not an IP address` });
  return z.NEVER;
});

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

/** IFNAMSIZ with its NUL is 16. */
const deviceName = z.string().regex(/^[^/:\s]{1,15}$/, 'is not the name of a network device');

const cniSchema = z.strictObject({
  /** flannel's own name: a node that ran flannel keeps its reservations. */
  networkName: z
    .string()
    .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/, 'is not the name of a network')
    .default('cbr0'),
  /** Pods on a bridge, or routed one by one: the plugins of containernetworking that do each are called so. */
  mode: z.enum(['bridge', 'ptp'], 'must be bridge or ptp').default('bridge'),
  bridge: deviceName.default('cni0'),
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
    apiVersion: z.literal('flatnet.dev/v1alpha1', 'must be flatnet.dev/v1alpha1'),
    kind: z.literal('AgentConfiguration', 'must be AgentConfiguration'),
    network: networkSchema,
    /** As flannel's --iface: interface, by name or address, that carries the cluster. */
    iface: z.string().min(1).optional(),
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
  .superRefine((config, context) => {
    for (const [field, family] of [
      ['publicIP', 4],
      ['publicIPv6', 6],
    ] as const) {
      const value = config[field];
      if (value !== undefined && value.family !== family) {
        context.addIssue({
          code: 'custom',
          path: [field],
          message: `${value.toString()} is not an IPv${family} address`,
        });
      }
    }
  });

export type AgentConfig = z.output<typeof configSchema>;

/** Reads and checks the file. Throws INVALID_CONFIG with one line for each thing that is wrong. */
export async function loadConfig(path: string): Promise<AgentConfig> {
  return parseConfig(await readConfigFile(path), path);
}

export function parseConfig(text: string, name: string): AgentConfig {
  const result = configSchema.safeParse(readYaml(text, name));
  if (!result.success) {
    throw invalidConfig(
      name,
      result.error.issues.flatMap((issue) => describeIssue(issue, knownFields())),
    );
  }
  const { network, publicIP, publicIPv6, serviceCIDRs } = result.data;
  checkServiceRanges(network, serviceCIDRs);
  // Behind address translation the nodes cannot be each other's routers.
  if (network.backend.type === 'host-gw' && (publicIP ?? publicIPv6) !== undefined) {
    throw invalidConfig(name, ['publicIP: host-gw needs the address of the interface itself']);
  }
  return result.data;
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
