import * as z from 'zod';
import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { isNoHostAnywhere } from '../../net/no-host.ts';

/** A range of host-local's option `ranges`. */
export interface IpamRange {
  readonly subnet: Cidr;
  readonly rangeStart: Ip | undefined;
  readonly rangeEnd: Ip | undefined;
  readonly gateway: Ip | undefined;
}

/** A route that pods get, as results write it. */
export interface IpamRoute {
  readonly dst: Cidr;
  /** The gateway of the address of its family when absent. */
  readonly gw: Ip | undefined;
  readonly mtu: number | undefined;
  /** Metric. */
  readonly priority: number | undefined;
  readonly table: number | undefined;
}

/** An address that the configuration itself gives, by the plugin `static`. */
interface StaticAddress {
  readonly ip: Ip;
  readonly prefixLength: number;
  readonly gateway: Ip | undefined;
}

interface IpamCommon {
  /** Undefined: the default route. */
  readonly routes: readonly IpamRoute[] | undefined;
}

interface HostLocalConfig extends IpamCommon {
  readonly type: 'host-local';
  /** One address of each set. Undefined: the node's pod CIDRs. */
  readonly ranges: readonly (readonly IpamRange[])[] | undefined;
  readonly dataDir: string | undefined;
  /** Path of a resolv.conf for the result. */
  readonly resolvConf: string | undefined;
}

export interface StaticConfig extends IpamCommon {
  readonly type: 'static';
  readonly addresses: readonly StaticAddress[];
}

export type IpamConfig = HostLocalConfig | StaticConfig;

const custom = <T>(what: string, parse: (text: string) => T | undefined) =>
  z.string().transform((text, context): T => {
    const parsed = parse(text);
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: `"${text}" is not ${what}` });
    return z.NEVER;
  });

const ip = custom('an IP address', (text) => Ip.tryParse(text));
const cidr = custom('a network in CIDR notation', (text) => Cidr.tryParse(text));

/** A gateway goes to the node's own bridge and into routes: it must be of the family, and one machine's address. */
function checkGateway(
  gateway: Ip | undefined,
  family: IpFamily | undefined,
  field: string,
  context: z.RefinementCtx,
): void {
  if (gateway === undefined || family === undefined) return;
  if (gateway.family === family && !isNoHostAnywhere(gateway)) return;
  const message = `"${gateway.toString()}" is not the IPv${family} address of a gateway`;
  context.addIssue({ code: 'custom', path: [field], message });
}

/** Requests are not trusted: no relative path, and none that climbs. */
const path = z
  .string()
  .regex(/^\/[^\0]*$/, 'must be an absolute path')
  .refine((text) => !text.split('/').includes('..'), 'must not have ".." in it');

/** What Calico and others write where the node's own range is meant. */
const USE_POD_CIDR = /^usePodCidr(IPv6)?$/i;

const range = z
  .looseObject({
    subnet: z.union([
      z
        .string()
        .regex(USE_POD_CIDR)
        .transform(() => undefined),
      cidr,
    ]),
    rangeStart: ip.optional(),
    rangeEnd: ip.optional(),
    gateway: ip.optional(),
  })
  .superRefine(({ subnet, gateway }, context) => {
    checkGateway(gateway, subnet?.family, 'gateway', context);
    if (subnet === undefined || !(isNoHostAnywhere(subnet.first) || isNoHostAnywhere(subnet.last))) return;
    const message = `"${subnet.toString()}" has addresses that no pod can have`;
    context.addIssue({ code: 'custom', path: ['subnet'], message });
  })
  .transform(({ subnet, rangeStart, rangeEnd, gateway }) =>
    subnet === undefined ? undefined : { subnet, rangeStart, rangeEnd, gateway },
  );

const route = z
  .looseObject({
    dst: cidr,
    gw: ip.optional(),
    mtu: z.int().min(68).max(65_535).optional(),
    priority: z.int().min(0).max(0xffff_ffff).optional(),
    table: z.int().min(1).max(0xffff_ffff).optional(),
    advmss: z.undefined('advmss is not supported').optional(),
  })
  .superRefine(({ dst, gw }, context) => checkGateway(gw, dst.family, 'gw', context))
  .transform(({ dst, gw, mtu, priority, table }): IpamRoute => ({ dst, gw, mtu, priority, table }));

const routes = z.array(route).nullish();

const staticAddress = z
  .looseObject({ address: z.string(), gateway: ip.optional() })
  .transform(({ address, gateway }, context): StaticAddress => {
    const own = Ip.tryParse(address.split('/')[0] ?? '');
    const network = Cidr.tryParse(address);
    if (own !== undefined && network !== undefined && !isNoHostAnywhere(own)) {
      checkGateway(gateway, own.family, 'gateway', context);
      return { ip: own, prefixLength: network.prefixLength, gateway };
    }
    context.addIssue({
      code: 'custom',
      path: ['address'],
      message: `"${address}" is not an address with prefix length`,
    });
    return z.NEVER;
  });

const hostLocal = z
  .looseObject({
    type: z.literal('host-local'),
    ranges: z.array(z.array(range)).nullish(),
    subnet: z.unknown().optional(),
    routes,
    dataDir: path.optional(),
    resolvConf: path.optional(),
  })
  .transform((raw, context): HostLocalConfig => {
    const sets = [...(raw.ranges ?? [])];
    // The form with one range only, which host-local puts first.
    if (raw.subnet !== undefined && raw.subnet !== '') {
      const single = range.safeParse(raw);
      if (single.success) sets.unshift([single.data]);
      else
        for (const { path: at, message } of single.error.issues)
          context.addIssue({ code: 'custom', path: at, message });
    }
    const own = sets.map((set) => set.filter((each) => each !== undefined)).filter((set) => set.length > 0);
    return {
      type: 'host-local',
      ranges: own.length === 0 ? undefined : own,
      routes: raw.routes ?? undefined,
      dataDir: raw.dataDir,
      resolvConf: raw.resolvConf,
    };
  });

const fixed = z
  .looseObject({ type: z.literal('static'), addresses: z.array(staticAddress).nullish(), routes })
  .transform((raw): StaticConfig => ({
    type: 'static',
    addresses: raw.addresses ?? [],
    routes: raw.routes ?? undefined,
  }));

const TYPES = ['host-local', 'static'];

/** The section `ipam`. An empty one is none. */
export const ipamSchema = z
  .looseObject({ type: z.string().optional() })
  .superRefine(({ type }, context) => {
    if (type === undefined || type === '' || TYPES.includes(type)) return;
    context.addIssue({
      code: 'custom',
      path: ['type'],
      message: `"${type}" is not supported; known are ${TYPES.join(' and ')}`,
    });
  })
  .transform((raw) => ({ ...raw, type: raw.type === undefined || raw.type === '' ? 'host-local' : raw.type }))
  .pipe(z.discriminatedUnion('type', [hostLocal, fixed]));
