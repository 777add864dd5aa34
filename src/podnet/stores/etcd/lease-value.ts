import * as z from 'zod';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { isNoHostAnywhere } from '../../../net/no-host.ts';
import type { Offer } from '../../node-lease.ts';
import { parseLeaseJson } from '../lease-json.ts';
import type { Publication } from '../lease-store.ts';

/** What the value of a lease says. */
export interface LeaseValue {
  readonly publicIps: ReadonlyMap<IpFamily, Ip>;
  readonly offers: readonly [Offer, ...Offer[]];
}

/** flannel's udp and alloc backends leave BackendType out. */
const UNNAMED = new Set(['udp', 'alloc']);

/** A cluster that rolls has two, one that changes its mind on the way three. */
const MOST_OFFERS = 8;

const offerFields = {
  BackendType: z.string().min(1).optional(),
  BackendData: z.unknown().optional(),
  BackendV6Data: z.unknown().optional(),
};

const schema = z.looseObject({
  PublicIP: z.string(),
  PublicIPv6: z.string().nullish(),
  ...offerFields,
  FlatnetBackends: z.array(z.looseObject(offerFields)).max(MOST_OFFERS).optional(),
});

/**
 * flannel's LeaseAttrs as its JSON, byte for byte. More than one offer, which there is only while a cluster changes
 * its backend, adds a field FlatnetBackends, which flannel passes over.
 */
export function formatLeaseValue({ publicIps, offers }: Publication): string {
  const [first, ...others] = offers;
  return JSON.stringify({
    PublicIP: publicIps.get(4)?.toString() ?? '0.0.0.0',
    PublicIPv6: publicIps.get(6)?.toString() ?? null,
    ...offerJson(first),
    ...(others.length === 0 ? {} : { FlatnetBackends: others.map(offerJson) }),
  });
}

function offerJson({ type, data }: Offer): object {
  const [v4, v6] = [data.get(4) ?? null, data.get(6) ?? null];
  return {
    ...(UNNAMED.has(type) ? {} : { BackendType: type }),
    ...(v4 === null ? {} : { BackendData: v4 }),
    ...(v6 === null ? {} : { BackendV6Data: v6 }),
  };
}

/**
 * Reads a lease's value. `unnamedType` is what a lease without BackendType is of: alloc where the cluster is
 * configured so, else udp. Throws INVALID_LEASE naming key and field.
 */
export function parseLeaseValue(key: string, text: string, unnamedType: 'udp' | 'alloc'): LeaseValue {
  let raw: unknown;
  try {
    raw = parseLeaseJson(text);
  } catch (cause) {
    throw leaseError(key, `is ${quote(text)}, which is ${(cause as Error).message}`, cause);
  }
  const result = schema.safeParse(raw);
  if (!result.success) {
    const [issue] = result.error.issues;
    const field = issue === undefined || issue.path.length === 0 ? '' : `${issue.path.join('.')}: `;
    throw leaseError(key, `${field}${issue?.message ?? 'is not a lease'} in ${quote(text)}`);
  }
  const value = result.data;
  const publicIps = new Map<IpFamily, Ip>();
  // The address of a node that has none in this family.
  if (value.PublicIP !== '0.0.0.0') publicIps.set(4, hostOf(key, 'PublicIP', value.PublicIP, 4));
  if (typeof value.PublicIPv6 === 'string' && value.PublicIPv6 !== '')
    publicIps.set(6, hostOf(key, 'PublicIPv6', value.PublicIPv6, 6));
  if (publicIps.size === 0) throw leaseError(key, `PublicIP ${value.PublicIP} is no address of a node`);
  const offer = (fields: typeof value | { [K in keyof typeof offerFields]?: unknown }): Offer => ({
    type: typeof fields.BackendType === 'string' ? fields.BackendType : unnamedType,
    data: new Map<IpFamily, unknown>([
      [4, fields.BackendData ?? null],
      [6, fields.BackendV6Data ?? null],
    ]),
  });
  return { publicIps, offers: [offer(value), ...(value.FlatnetBackends ?? []).map(offer)] };
}

function hostOf(key: string, field: string, text: string, family: IpFamily): Ip {
  const ip = Ip.tryParse(text);
  if (ip?.family !== family) throw leaseError(key, `${field} is ${quote(text)}, not an IPv${family} address`);
  if (isNoHostAnywhere(ip)) throw leaseError(key, `${field} is ${text}, which is no address of a node`);
  return ip;
}

/** etcd takes values of more than a megabyte: messages show their beginning. */
const quote = (text: string): string =>
  text.length <= 100
    ? JSON.stringify(text)
    : `${JSON.stringify(text.slice(0, 100))}… (${text.length} characters)`;

function leaseError(key: string, what: string, cause?: unknown): FlatnetError {
  return new FlatnetError(`etcd ${key}: ${what}`, {
    code: 'INVALID_LEASE',
    hint: 'the agent or flanneld of that node writes it; a reservation looks like {"PublicIP":"192.0.2.7"}',
    cause,
  });
}
