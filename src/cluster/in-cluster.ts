import { readFile } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { ClusterAccess } from './access.ts';
import { TokenFile } from './token-file.ts';

const SERVICE_ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';

/** Access from inside of a pod by its service account. Throws NOT_IN_CLUSTER when there is none. */
export async function inClusterAccess(
  environment: NodeJS.ProcessEnv = process.env,
  folder = SERVICE_ACCOUNT_FOLDER,
): Promise<ClusterAccess> {
  const host = environment['KUBERNETES_SERVICE_HOST'];
  const port = environment['KUBERNETES_SERVICE_PORT'];
  if (host === undefined || port === undefined) {
    throw notInCluster('KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set');
  }
  const token = new TokenFile(join(folder, 'token'));
  let certificateAuthority: string;
  try {
    await token.read(false);
    certificateAuthority = await readFile(join(folder, 'ca.crt'), 'utf8');
  } catch (error) {
    throw notInCluster(`the service account is not mounted at ${folder}`, error);
  }
  const namespace = await readFile(join(folder, 'namespace'), 'utf8').catch(() => 'default');
  return {
    server: `https://${isIPv6(host) ? `[${host}]` : host}:${port}`,
    certificateAuthority,
    namespace: namespace.trim(),
    credentials: async (refresh) => ({ authorization: `Bearer ${await token.read(refresh)}` }),
  };
}

function notInCluster(why: string, cause?: unknown): FlatnetError {
  return new FlatnetError(`not inside of a pod: ${why}`, {
    code: 'NOT_IN_CLUSTER',
    hint: 'outside of a cluster name a kubeconfig with --kubeconfig FILE',
    cause,
  });
}
