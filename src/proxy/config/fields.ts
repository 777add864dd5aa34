import * as z from 'zod';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { parseBindAddress } from './bind-address.ts';
import { parseDuration } from './duration.ts';

/**
 * Kinds of fields of kube-proxy's file. They are read as Go reads JSON: `null` and a missing field are the zero value,
 * and for many fields the zero value stands for a default, even where it is written out (`syncPeriod: 0s`).
 */

type Context = z.core.$RefinementCtx;

function refuse(context: Context, message: string): never {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

/** A field that may be missing or null, with what it then is. */
function nullable<T extends z.ZodType>(type: T, zero: z.output<T>) {
  return type
    .nullish()
    .transform((value): z.output<T> => (value === undefined || value === null ? zero : value));
}

export const text = nullable(z.string('must be a text; put it between quotes'), '');

/** A text that has to be one of a few; empty is allowed and stays empty. */
export function oneOf<const T extends string>(values: readonly T[], remedy = '') {
  return text.transform((value, context): T | '' => {
    if (value === '' || values.includes(value as T)) return value as T | '';
    return refuse(context, `"${value}" is not one of ${values.join(', ')}${remedy}`);
  });
}

/** A Go bool, or where the zero is true, a pointer to one. */
export const flag = (zero = false) => nullable(z.boolean('must be true or false'), zero);

/** A Go *int32: null is the default, 0 is 0. */
export function integer(zero: number, min: number, max: number) {
  return nullable(
    z
      .int(`must be a whole number from ${min} to ${max}`)
      .min(min, `must be a whole number from ${min} to ${max}`)
      .max(max, `must be a whole number from ${min} to ${max}`),
    zero,
  );
}

/** A metav1.Duration; milliseconds. `zero` is what a missing or null one is, `min` the least that is allowed. */
export function duration(zero = 0, minText: 'any' | 'zero' | 'positive' = 'zero') {
  return nullable(z.string('must be a duration between quotes, like "30s" or "24h0m0s"'), '').transform(
    (value, context): number => {
      if (value === '') return zero;
      const ms = parseDuration(value);
      if (ms === undefined)
        return refuse(context, `"${value}" is not a duration; write it like 30s or 24h0m0s`);
      if (minText === 'zero' && ms < 0) return refuse(context, `"${value}" must not be negative`);
      if (minText === 'positive' && ms <= 0) return refuse(context, `"${value}" must be greater than 0`);
      return ms;
    },
  );
}

/** As `duration`, where 0 also stands for the default (kube-proxy's own defaulting does so). */
export function durationOr(standard: number) {
  return duration(0, 'zero').transform((ms) => (ms === 0 ? standard : ms));
}

export const ip = text.transform((value, context): Ip | undefined => {
  if (value === '') return undefined;
  return (
    Ip.tryParse(value) ??
    refuse(context, `"${value}" is not an IP address; write it like 192.0.2.1 or 2001:db8::1`)
  );
});

function cidrOf(value: string, context: Context): Cidr {
  return (
    Cidr.tryParse(value) ??
    refuse(
      context,
      `"${value}" is not a network in CIDR notation; write it like 10.244.0.0/16 or fd00:10:244::/56`,
    )
  );
}

export const cidrs = nullable(
  z.array(
    z.string('must be a network in CIDR notation').transform(cidrOf),
    'must be a list of networks, like ["10.0.0.0/8"]',
  ),
  [],
);

/** Pod ranges of the cluster with a comma between them: one, or one of each family. */
export const clusterCidr = text.transform((value, context): readonly Cidr[] => {
  if (value.trim() === '') return [];
  const list = value.split(',').map((part) => cidrOf(part.trim(), context));
  if (list.length > 2 || (list.length === 2 && list[0]?.family === list[1]?.family)) {
    return refuse(
      context,
      `"${value}" must be one network, or an IPv4 and an IPv6 network with a comma between them`,
    );
  }
  return list;
});

/** Node ports answer on the node's InternalIPs (`primary`), on what lies in these networks, or (`all`) everywhere. */
export type NodePortNetworks = 'primary' | 'all' | readonly Cidr[];

/** Empty: the mode's default, which is not known here. */
export const nodePortAddresses = nullable(
  z.array(
    z.string('must be a network in CIDR notation, or primary'),
    'must be a list, like ["10.0.0.0/8"] or ["primary"]',
  ),
  [],
).transform((list, context): NodePortNetworks => {
  if (!list.includes('primary')) return list.map((value) => cidrOf(value, context));
  if (list.length === 1) return 'primary';
  return refuse(context, '"primary" must stand alone, or leave it out and list networks');
});

/** An address and port for a server; `defaultPort` where only the address is given. Empty stays undefined. */
export function listenAddress(defaultPort: number) {
  return text.transform((value, context) => {
    if (value === '') return undefined;
    return (
      parseBindAddress(value, defaultPort) ??
      refuse(context, `"${value}" is not an address and port; write it like 0.0.0.0:${defaultPort}`)
    );
  });
}

/** What comes after is part of an interface's name (IFNAMSIZ with its NUL is 16). */
export const interfaceName = text.transform((value, context): string => {
  if (value === '' || /^[^/:\s]{1,15}$/.test(value)) return value;
  return refuse(
    context,
    `"${value}" is not the name of a network interface (at most 15 characters, no "/", ":" or blank)`,
  );
});

/** A part of the file: null and missing are an empty one, unknown fields are errors. */
export function section<T extends z.ZodRawShape>(shape: T) {
  return z.preprocess(
    (value) => value ?? {},
    z.strictObject(shape, {
      error: (issue) => (issue.code === 'invalid_type' ? 'must be an object with fields' : undefined),
    }),
  );
}

/** Ports, both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** As utilnet.ParsePortRange: `300-2000`, `300+100`, `300`; empty and `0-0` leave the choice to the kernel. */
export const portRange = text.transform((value, context): PortRange | undefined => {
  const match = /^(\d{1,5})(?:([-+])(\d{1,5}))?$/.exec(value.trim());
  if (value === '') return undefined;
  const first = Number(match?.[1] ?? Number.NaN);
  const other = Number(match?.[3] ?? 0);
  const last = match?.[2] === undefined ? first : match[2] === '+' ? first + other : other;
  if (first === 0 && last === 0) return undefined;
  if (first >= 1 && last >= first && last <= 65_535) return { first, last };
  return refuse(context, `"${value}" is not a range of ports; write it like 30000-32767`);
});
