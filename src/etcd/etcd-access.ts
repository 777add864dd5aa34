import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { credentials, type ChannelCredentials } from '@grpc/grpc-js';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Endpoint } from './endpoint.ts';

/** How an etcd is reached. Paths of files, which are read again for each new connection: certificates are renewed. */
export interface EtcdAccess {
  readonly endpoints: readonly [Endpoint, ...Endpoint[]];
  /** Who signs the servers' certificates; the system's authorities when absent. */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  readonly username?: string | undefined;
  /** Where the password is written; surrounding white space does not count. */
  readonly passwordFile?: string | undefined;
  readonly password?: string | undefined;
}

export function usesTls(access: EtcdAccess, endpoint: Endpoint): boolean {
  if (endpoint.scheme !== undefined) return endpoint.scheme === 'https';
  return access.caFile !== undefined || access.certFile !== undefined;
}

/** Throws ETCD_CREDENTIALS naming the file. */
export async function channelCredentials(
  access: EtcdAccess,
  endpoint: Endpoint,
): Promise<ChannelCredentials> {
  if (!usesTls(access, endpoint)) return credentials.createInsecure();
  const [ca, cert, key] = await Promise.all([
    readCredential('caFile', access.caFile),
    readCredential('certFile', access.certFile),
    readCredential('keyFile', access.keyFile),
  ]);
  check(['caFile', access.caFile], { ca });
  check(['certFile', access.certFile], { cert });
  check(['keyFile', access.keyFile], cert === null ? {} : { cert, key });
  return credentials.createSsl(ca, key, cert);
}

/** Throws ETCD_CREDENTIALS naming the file. */
export async function readPassword(access: EtcdAccess): Promise<string> {
  if (access.password !== undefined) return access.password;
  return (await readCredential('passwordFile', access.passwordFile))?.toString().trim() ?? '';
}

async function readCredential(field: string, path: string | undefined): Promise<Buffer | null> {
  if (path === undefined) return null;
  try {
    return await readFile(path);
  } catch (cause) {
    throw credentialError(field, path, cause);
  }
}

/** OpenSSL's own words, with the field that they are about. */
function check([field, path]: readonly [string, string | undefined], parts: object): void {
  try {
    if (path !== undefined) createSecureContext(parts);
  } catch (cause) {
    throw credentialError(field, path ?? '', cause);
  }
}

function credentialError(field: string, path: string, cause: unknown): FlatnetError {
  const words = cause instanceof Error ? cause.message : String(cause);
  // The file may be in the middle of being renewed.
  return new FlatnetError(`etcd ${field} ${path}: ${words}`, {
    code: 'ETCD_CREDENTIALS',
    hint: 'a file in PEM format is wanted, readable for this process',
    retryable: true,
    cause,
  });
}
