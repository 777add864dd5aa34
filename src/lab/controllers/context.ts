import type { DaemonSet, Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.js';
import type { Lease } from 'kubernetes-types/coordination/v1.js';
import type { Endpoints, Namespace, Node, Pod, Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { ApiClient } from '../../cluster/api-client.ts';
import { EventRecorder } from '../../cluster/event-recorder.ts';
import {
  DAEMON_SETS,
  DEPLOYMENTS,
  ENDPOINT_SLICES,
  ENDPOINTS,
  LEASES,
  NAMESPACES,
  NODES,
  PODS,
  REPLICA_SETS,
  SERVICES,
} from '../../cluster/resource-type.ts';
import type { Logger } from '../../log/logger.ts';
import { WorkQueue } from '../../reconcile/work-queue.ts';
import { controllerOf } from './ownership.ts';
import { ObjectView } from './object-view.ts';

/** The views that controllers share: one watch a type. */
export interface Views {
  readonly pods: ObjectView<Pod>;
  readonly nodes: ObjectView<Node>;
  readonly namespaces: ObjectView<Namespace>;
  readonly services: ObjectView<Service>;
  readonly deployments: ObjectView<Deployment>;
  readonly replicaSets: ObjectView<ReplicaSet>;
  readonly daemonSets: ObjectView<DaemonSet>;
  readonly endpointSlices: ObjectView<EndpointSlice>;
  readonly endpoints: ObjectView<Endpoints>;
  readonly leases: ObjectView<Lease>;
}

export interface ControllerContext {
  readonly client: ApiClient;
  readonly views: Views;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  recorder(component: string): EventRecorder;
  /** A queue that runs as long as the controllers do. */
  queue(name: string, process: (key: string) => Promise<void>, concurrency?: number): WorkQueue;
}

/** Index values of pods. */
export const byController = (uid: string): string => `controller ${uid}`;
export const byNode = (name: string): string => `node ${name}`;
export const orphansOf = (namespace: string): string => `orphans ${namespace}`;
/** Index value of Services, Deployments and whatever else is looked for in a namespace. */
export const byNamespace = (namespace: string): string => `namespace ${namespace}`;
/** Index value of EndpointSlices. */
export const byService = (namespace: string, name: string): string => `service ${namespace}/${name}`;

export function makeViews(client: ApiClient, logger: Logger): Views {
  return {
    pods: new ObjectView(client, PODS, logger, indexPod),
    nodes: new ObjectView(client, NODES, logger),
    namespaces: new ObjectView(client, NAMESPACES, logger),
    services: new ObjectView(client, SERVICES, logger, (service) => [
      byNamespace(service.metadata?.namespace ?? ''),
    ]),
    deployments: new ObjectView(client, DEPLOYMENTS, logger),
    replicaSets: new ObjectView(client, REPLICA_SETS, logger, (set) => [
      byController(controllerOf(set)?.uid ?? ''),
      byNamespace(set.metadata?.namespace ?? ''),
    ]),
    daemonSets: new ObjectView(client, DAEMON_SETS, logger, (set) => [
      byNamespace(set.metadata?.namespace ?? ''),
    ]),
    endpointSlices: new ObjectView(client, ENDPOINT_SLICES, logger, (slice) => [
      byService(
        slice.metadata?.namespace ?? '',
        slice.metadata?.labels?.['kubernetes.io/service-name'] ?? '',
      ),
    ]),
    endpoints: new ObjectView(client, ENDPOINTS, logger),
    leases: new ObjectView(client, LEASES, logger),
  };
}

function indexPod(pod: Pod): string[] {
  const namespace = pod.metadata?.namespace ?? '';
  const controller = controllerOf(pod);
  return [
    byNamespace(namespace),
    controller === undefined ? orphansOf(namespace) : byController(controller.uid),
    ...(pod.spec?.nodeName === undefined ? [] : [byNode(pod.spec.nodeName)]),
  ];
}

export function makeContext(
  client: ApiClient,
  logger: Logger,
  signal: AbortSignal,
  started: Promise<void>[],
): ControllerContext {
  return {
    client,
    views: makeViews(client, logger),
    logger,
    signal,
    recorder: (component) => new EventRecorder(client, { component, signal, logger }),
    queue: (name, process, concurrency = 1) => {
      const queue = new WorkQueue({ name, process, concurrency, logger, maxBackoffMs: 10_000 });
      started.push(queue.run(signal));
      return queue;
    },
  };
}
