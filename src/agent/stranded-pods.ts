import type { AttachmentRecord } from '../cni/attachments/attachment-record.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { NetworkConfig } from '../podnet/network-config.ts';

/** More than a person reads. */
const MOST_NAMED = 5;

/** What it means that pods have addresses of the cluster's that are not the node's to give; undefined for none. */
export function strandedPods(
  stranded: readonly AttachmentRecord[],
  { networks }: NetworkConfig,
): FlatnetError | undefined {
  const ofCluster = stranded
    .map(({ addresses }) => addresses.find(({ ip }) => networks.get(ip.family)?.contains(ip) === true)?.ip)
    .filter((ip) => ip !== undefined);
  if (ofCluster.length === 0) return undefined;
  const named = ofCluster.slice(0, MOST_NAMED).join(', ') + (ofCluster.length > MOST_NAMED ? ', …' : '');
  return new FlatnetError(
    `${ofCluster.length} pods of this node have addresses of a subnet that it does not have (${named}): other nodes do not reach them`,
    { code: 'PODS_STRANDED', hint: 'delete them, so that they are made anew (kubectl drain)' },
  );
}
