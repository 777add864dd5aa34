import type { ClusterAccess } from './access.ts';

export interface KubeconfigOptions {
  /** In place of `current-context`. */
  readonly context?: string | undefined;
}

/**
 * Reads a kubeconfig: `path`, else the files of the environment variable KUBECONFIG, else `~/.kube/config`.
 * Throws KUBECONFIG_INVALID naming file and field, KUBECONFIG_MISSING when there is none.
 */
export async function loadKubeconfig(path?: string, options: KubeconfigOptions = {}): Promise<ClusterAccess> {
  throw new Error(`not yet: ${String(path)} ${String(options.context)}`);
}
