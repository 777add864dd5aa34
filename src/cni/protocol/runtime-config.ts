import * as z from 'zod';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { Mac } from '../../net/mac.ts';

/** A port of the node that leads to one of the pod (CNI conventions, capability `portMappings`). */
export interface PortMapping {
  /** 1 to 65535. */
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  /** The node's address that it holds for; undefined: every one of both families. */
  readonly hostIp: Ip | undefined;
}

/** Capability `bandwidth`: rates in bit/s, bursts in bits; 0 or absent is no limit. Ingress is towards the pod. */
interface Bandwidth {
  readonly ingressRate: number;
  readonly ingressBurst: number;
  readonly egressRate: number;
  readonly egressBurst: number;
}

/** An address that was asked for by name, with its prefix length where that was said. */
export interface RequestedIp {
  readonly ip: Ip;
  readonly prefixLength: number | undefined;
}

/** What the runtime asks for one container beside what the network configuration says: `runtimeConfig`. */
export interface RuntimeConfig {
  readonly portMappings: readonly PortMapping[];
  readonly bandwidth: Bandwidth | undefined;
  readonly ips: readonly RequestedIp[];
  readonly mac: Mac | undefined;
  /** Names for the container, in the order given. */
  readonly aliases: readonly string[];
}

export const NO_RUNTIME_CONFIG: RuntimeConfig = {
  portMappings: [],
  bandwidth: undefined,
  ips: [],
  mac: undefined,
  aliases: [],
};

const port = z.int().min(1, 'must be 1 to 65535').max(65_535, 'must be 1 to 65535');

/** Runtimes write "" where nothing is asked for. */
const hostIp = z
  .string()
  .optional()
  .transform((text, context): Ip | undefined => {
    if (text === undefined || text === '') return undefined;
    const ip = Ip.tryParse(text);
    if (ip !== undefined) return ip;
    context.addIssue({ code: 'custom', message: `"${text}" is not an IP address` });
    return z.NEVER;
  });

const protocol = z
  .string()
  .default('tcp')
  .transform((text, context): PortMapping['protocol'] => {
    const lower = text === '' ? 'tcp' : text.toLowerCase();
    if (lower === 'tcp' || lower === 'udp' || lower === 'sctp') return lower;
    context.addIssue({ code: 'custom', message: `"${text}" is not tcp, udp or sctp` });
    return z.NEVER;
  });

/**
 * Reads names as Go does, without regard to upper and lower case: containerd writes `HostPort`, `IngressRate`, and
 * whoever reads that with Go does not notice.
 */
const inAnyCase = <T extends z.core.$ZodLooseShape>(shape: T) => {
  const names = new Map(Object.keys(shape).map((name) => [name.toLowerCase(), name]));
  return z.preprocess((raw) => {
    if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return raw;
    return Object.fromEntries(
      Object.entries(raw).map(([name, value]: [string, unknown]) => [
        names.get(name.toLowerCase()) ?? name,
        value,
      ]),
    );
  }, z.looseObject(shape));
};

const portMapping = inAnyCase({
  hostPort: z.int().min(0, 'must be 0 to 65535').max(65_535, 'must be 0 to 65535'),
  containerPort: port,
  protocol,
  hostIP: hostIp,
}).transform(({ hostPort, containerPort, protocol: name, hostIP }) => ({
  hostPort,
  containerPort,
  protocol: name,
  hostIp: hostIP,
}));

/** Rates are bit/s: 2^53 is enough for any device, and still exact. */
const bits = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0);

const bandwidth = inAnyCase({
  ingressRate: bits,
  ingressBurst: bits,
  egressRate: bits,
  egressBurst: bits,
});

/** An address with or without prefix length. */
export const requestedIp = z.string().transform((text, context): RequestedIp => {
  const [address = '', length] = text.split('/');
  const ip = Ip.tryParse(address);
  if (ip !== undefined && length === undefined) return { ip, prefixLength: undefined };
  const cidr = Cidr.tryParse(text);
  if (ip !== undefined && cidr !== undefined) return { ip, prefixLength: cidr.prefixLength };
  context.addIssue({ code: 'custom', message: `"${text}" is not an IP address, nor one with prefix length` });
  return z.NEVER;
});

/** A MAC that an interface can have: not all zero, not of a group (IEEE 802, lowest bit of the first octet). */
export const unicastMac = z.string().transform((text, context): Mac => {
  try {
    const mac = Mac.parse(text);
    const first = Number.parseInt(mac.toString().slice(0, 2), 16);
    if ((first & 1) === 0 && mac.toString() !== '00:00:00:00:00:00') return mac;
  } catch {
    // Said below.
  }
  context.addIssue({ code: 'custom', message: `"${text}" is not the MAC address of an interface` });
  return z.NEVER;
});

const optionalMac = z
  .string()
  .optional()
  .transform((text) => (text === '' ? undefined : text))
  .pipe(unicastMac.optional());

/** Names of hosts(5): what becomes a line of a file must not have white space. */
const alias = z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/, 'is not a host name');

/** Unknown members are other plugins': they are passed over. */
export const runtimeConfigSchema = z
  .looseObject({
    portMappings: z.array(portMapping).nullish(),
    bandwidth: bandwidth.nullish(),
    ips: z.array(requestedIp).nullish(),
    mac: optionalMac,
    aliases: z.array(alias).nullish(),
  })
  .transform((raw): RuntimeConfig => ({
    // As portmap has it: port 0 is one of the container that asks for none of the node.
    portMappings: (raw.portMappings ?? []).filter(({ hostPort }) => hostPort !== 0),
    bandwidth: raw.bandwidth ?? undefined,
    ips: raw.ips ?? [],
    mac: raw.mac,
    aliases: raw.aliases ?? [],
  }));
