import * as z from 'zod';
import { parseEndpoint, type Endpoint } from '../../../etcd/endpoint.ts';
import type { EtcdAccess } from '../../../etcd/etcd-access.ts';
import { FlatnetError } from '../../../errors/flatnet-error.ts';

/** How the etcd store is used: fields named after flanneld's --etcd-… flags. */
export interface EtcdSettings {
  readonly access: EtcdAccess;
  /** Without a slash at its end. */
  readonly prefix: string;
  /** How long before its end a lease is renewed. Seconds. */
  readonly renewMarginSeconds: number;
}

/** flannel's subnetTTL. */
export const LEASE_SECONDS = 86_400;

/** flannel's --etcd-endpoints. */
const DEFAULT_ENDPOINTS = ['http://127.0.0.1:4001', 'http://127.0.0.1:2379'];

const endpoint = z.string().transform((text, context): Endpoint => {
  try {
    return parseEndpoint(text.trim());
  } catch (error) {
    if (!(error instanceof FlatnetError)) throw error;
    context.addIssue({ code: 'custom', message: `${error.message}; ${error.hint ?? ''}` });
    return z.NEVER;
  }
});

const path = z.string().min(1, 'must be the path of a file').optional();

/** The section `store.etcd` of the agent's configuration. */
export const etcdSchema = z
  .strictObject({
    /** --etcd-endpoints. */
    endpoints: z
      .tuple([endpoint], endpoint)
      .default(() => DEFAULT_ENDPOINTS.map(parseEndpoint) as [Endpoint, ...Endpoint[]]),
    /** --etcd-prefix. */
    prefix: z
      .string()
      .regex(/^\/.*[^/]/, 'must begin with a slash and name something, like /coreos.com/network')
      .transform((text) => text.replace(/\/+$/, ''))
      .default('/coreos.com/network'),
    /** --etcd-keyfile, --etcd-certfile, --etcd-cafile. */
    keyFile: path,
    certFile: path,
    caFile: path,
    /** --etcd-username. */
    username: z.string().min(1, 'must not be empty').optional(),
    /** --etcd-password; whoever may see the process list or the configuration reads it. */
    password: z.string().optional(),
    passwordFile: path,
    /** --subnet-lease-renew-margin: minutes. */
    subnetLeaseRenewMargin: z.int().min(1).max(1439).default(60),
  })
  .superRefine((raw, context) => {
    const refuse = (field: string, message: string): void =>
      context.addIssue({ code: 'custom', path: [field], message });
    if (raw.certFile !== undefined && raw.keyFile === undefined)
      refuse('keyFile', 'is missing beside certFile');
    if (raw.keyFile !== undefined && raw.certFile === undefined)
      refuse('certFile', 'is missing beside keyFile');
    const hasPassword = raw.password !== undefined || raw.passwordFile !== undefined;
    if (raw.username !== undefined && !hasPassword) refuse('passwordFile', 'is missing beside username');
    if (raw.username === undefined && hasPassword) refuse('username', 'is missing beside the password');
    if (raw.password !== undefined && raw.passwordFile !== undefined)
      refuse('password', 'is set beside passwordFile');
    const hasTlsFiles = raw.caFile !== undefined || raw.certFile !== undefined;
    for (const [index, { text, scheme }] of raw.endpoints.entries()) {
      if (scheme !== 'http' || !hasTlsFiles) continue;
      context.addIssue({
        code: 'custom',
        path: ['endpoints', index],
        message: `${text} is not encrypted, although caFile or certFile is set; write https://`,
      });
    }
  })
  .transform(({ prefix, subnetLeaseRenewMargin, ...access }): EtcdSettings => ({
    access,
    prefix,
    renewMarginSeconds: subnetLeaseRenewMargin * 60,
  }));
