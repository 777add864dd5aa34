import type { ApiClient } from '../../cluster/api-client.ts';
import type { Logger } from '../../log/logger.ts';
import type { Cidr } from '../../net/cidr.ts';

export interface ControllerOptions {
  /** Ranges that nodes get their pod CIDRs from, at most one a family, and the length of a node's part. */
  readonly podCidrs: readonly { readonly range: Cidr; readonly nodePrefixLength: number }[];
  /** PEM that every namespace gets in its ConfigMap kube-root-ca.crt. */
  readonly rootCertificate: string;
  /** A node whose lease is older is not ready; 40 seconds. */
  readonly nodeMonitorGraceMs?: number;
  readonly logger: Logger;
}

/**
 * Runs the controllers of a cluster until the signal is aborted; resolves when all have ended, never rejects.
 * They speak with the API server through `client` alone.
 */
export async function startControllers(
  client: ApiClient,
  options: ControllerOptions,
  signal: AbortSignal,
): Promise<void> {
  void [client, options, signal];
}
