import type { ApiClient } from '../../cluster/api-client.ts';
import type { Logger } from '../../log/logger.ts';
import { startClassicEndpoints } from './classic-endpoints.ts';
import { startCollection } from './collection.ts';
import { makeContext } from './context.ts';
import { startDaemonSets } from './daemon-sets.ts';
import { startDeployments } from './deployments.ts';
import { startEndpointMirroring } from './endpoint-mirroring.ts';
import { startEndpointSlices } from './endpoint-slices.ts';
import { startNamespaceDefaults } from './namespace-defaults.ts';
import { type NodeCidrRange, startNodeCidrs } from './node-cidrs.ts';
import { startNodeLifecycle } from './node-lifecycle.ts';
import { startPodEviction } from './pod-eviction.ts';
import { startReplicaSets } from './replica-sets.ts';
import { startScheduler } from './scheduler.ts';

export interface ControllerOptions {
  /** Ranges that nodes get their pod CIDRs from, at most one a family. */
  readonly podCidrs: readonly NodeCidrRange[];
  /** PEM that every namespace gets in its ConfigMap kube-root-ca.crt. */
  readonly rootCertificate: string;
  /** A node whose lease is older is not ready; 40 seconds. */
  readonly nodeMonitorGraceMs?: number;
  readonly logger: Logger;
}

const NODE_MONITOR_GRACE_MS = 40_000;

/**
 * Runs the controllers of a cluster until the signal is aborted; resolves when all have ended, never rejects.
 * They speak with the API server through `client` alone, so any conforming server will do.
 */
export async function startControllers(
  client: ApiClient,
  options: ControllerOptions,
  signal: AbortSignal,
): Promise<void> {
  const { context, run } = makeContext(client, options.logger, signal);
  startNodeCidrs(context, options.podCidrs);
  startNodeLifecycle(context, options.nodeMonitorGraceMs ?? NODE_MONITOR_GRACE_MS);
  startNamespaceDefaults(context, options.rootCertificate);
  startScheduler(context);
  startReplicaSets(context);
  startDeployments(context);
  startDaemonSets(context);
  startEndpointSlices(context);
  startClassicEndpoints(context);
  startEndpointMirroring(context);
  startCollection(context);
  startPodEviction(context);
  await run();
}
