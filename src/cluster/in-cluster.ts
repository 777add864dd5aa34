import type { ClusterAccess } from './access.ts';

/** Access from inside of a pod by its service account. Throws NOT_IN_CLUSTER when there is none. */
export async function inClusterAccess(): Promise<ClusterAccess> {
  throw new Error('not yet');
}
