import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** Paths of a real control plane's programs. */
export interface Assets {
  readonly etcd: string;
  readonly apiServer: string;
  readonly controllerManager?: string | undefined;
  readonly scheduler?: string | undefined;
}

const HINT =
  'point KUBEBUILDER_ASSETS at a folder with kube-apiserver and etcd: export KUBEBUILDER_ASSETS=$(setup-envtest use -p path)';

/** By envtest's convention. Throws ASSETS_MISSING naming the variable or the file. */
export function findAssets(folder: string | undefined): Assets {
  if (folder === undefined || folder === '') {
    throw new FlatnetError('the environment variable KUBEBUILDER_ASSETS is not set', {
      code: 'ASSETS_MISSING',
      hint: HINT,
    });
  }
  return {
    etcd: needed(folder, 'etcd'),
    apiServer: needed(folder, 'kube-apiserver'),
    controllerManager: executable(folder, 'kube-controller-manager'),
    scheduler: executable(folder, 'kube-scheduler'),
  };
}

function needed(folder: string, name: string): string {
  const path = executable(folder, name);
  if (path !== undefined) return path;
  throw new FlatnetError(`there is no program ${join(folder, name)}`, { code: 'ASSETS_MISSING', hint: HINT });
}

function executable(folder: string, name: string): string | undefined {
  const path = join(folder, name);
  try {
    accessSync(path, constants.X_OK);
    return path;
  } catch {
    return undefined;
  }
}
