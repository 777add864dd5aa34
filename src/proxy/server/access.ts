import type { ClusterAccess } from '../../cluster/access.ts';
import { inClusterAccess } from '../../cluster/in-cluster.ts';
import { loadKubeconfig } from '../../cluster/kubeconfig.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/**
 * How the API server is reached: by the kubeconfig, with `master` in place of its address; with `master` alone without
 * credentials; else by the service account of the pod. Empty: not given.
 */
export async function proxyAccess(kubeconfig: string, master: string): Promise<ClusterAccess> {
  if (kubeconfig === '' && master === '') return inClusterAccess();
  if (kubeconfig === '') {
    return { server: serverOf(master), namespace: 'default', credentials: async () => Promise.resolve({}) };
  }
  const access = await loadKubeconfig(kubeconfig).catch((cause: unknown) => {
    throw new FlatnetError(
      `clientConnection.kubeconfig: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        code: cause instanceof FlatnetError ? cause.code : 'KUBECONFIG_INVALID',
        hint: 'name another with --kubeconfig or in the file of --config; empty takes the service account of the pod',
        cause,
      },
    );
  });
  return master === '' ? access : { ...access, server: serverOf(master) };
}

/** As client-go: without a scheme it is http. */
function serverOf(master: string): string {
  const text = /^https?:\/\//.test(master) ? master : `http://${master}`;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && url.hostname !== '') return text.replace(/\/+$/, '');
  throw new FlatnetError(
    `--master: "${master}" is not the address of a server; write it like https://10.0.0.1:6443`,
    {
      code: 'INVALID_FLAG',
    },
  );
}
