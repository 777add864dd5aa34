import type { DaemonSet, Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.js';
import type { Lease } from 'kubernetes-types/coordination/v1.js';
import type { Endpoints, Namespace, Node, Pod, Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { ApiClient } from '../../cluster/api-client.ts';
import { hasStatus } from '../../cluster/api-error.ts';
import { EventRecorder } from '../../cluster/event-recorder.ts';
import { type KubeObject, parseKey } from '../../cluster/kube-object.ts';
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
  type ResourceType,
} from '../../cluster/resource-type.ts';
import type { Logger } from '../../log/logger.ts';
import { WorkQueue } from '../../reconcile/work-queue.ts';
import { controllerOf } from './ownership.ts';
import { type Indexer, ObjectView } from './object-view.ts';

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

interface Followed {
  run(signal: AbortSignal): Promise<void>;
  synced(signal?: AbortSignal): Promise<void>;
}

export interface ControllerContext {
  readonly client: ApiClient;
  readonly views: Views;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** Has an informer run as long as the controllers do; they wait for its first list. */
  follow(informer: Followed): void;
  recorder(component: string): EventRecorder;
  /** A queue that runs as long as the controllers do. */
  queue(name: string, process: (key: string) => Promise<void>, concurrency?: number): WorkQueue;
}

/** Index values of pods. */
export const byController = (uid: string): string => `controller ${uid}`;
export const byNode = (name: string): string => `node ${name}`;
export const orphansOf = (namespace: string): string => `orphans ${namespace}`;
/** Index value of ReplicaSets and DaemonSets. */
export const byNamespace = (namespace: string): string => `namespace ${namespace}`;
/** Index value of pods (each of their labels) and of Services (one label that they select by). */
export const byLabel = (namespace: string, key: string, value: string): string =>
  `label ${namespace} ${key}=${value}`;
/** Index value of EndpointSlices. */
export const byService = (namespace: string, name: string): string => `service ${namespace}/${name}`;

function inNamespace(object: KubeObject): string[] {
  return [byNamespace(object.metadata?.namespace ?? '')];
}

function makeViews(client: ApiClient, logger: Logger): Views {
  const view = <T extends KubeObject>(type: ResourceType<T>, indexer?: Indexer<T>): ObjectView<T> =>
    new ObjectView(client, type, logger, indexer === undefined ? {} : { indexer });
  return {
    pods: view(PODS, indexPod),
    nodes: view(NODES),
    namespaces: view(NAMESPACES),
    services: view(SERVICES, indexService),
    deployments: view(DEPLOYMENTS),
    replicaSets: view(REPLICA_SETS, (set) => [
      ...inNamespace(set),
      byController(controllerOf(set)?.uid ?? ''),
    ]),
    daemonSets: view(DAEMON_SETS, inNamespace),
    endpointSlices: view(ENDPOINT_SLICES, ({ metadata }) => [
      byService(metadata?.namespace ?? '', metadata?.labels?.['kubernetes.io/service-name'] ?? ''),
    ]),
    endpoints: view(ENDPOINTS),
    leases: view(LEASES),
  };
}

function indexService(service: Service): string[] {
  const [label] = Object.entries(service.spec?.selector ?? {});
  return label === undefined ? [] : [byLabel(service.metadata?.namespace ?? '', ...label)];
}

function indexPod(pod: Pod): string[] {
  const namespace = pod.metadata?.namespace ?? '';
  const controller = controllerOf(pod);
  return [
    ...Object.entries(pod.metadata?.labels ?? {}).map(([key, value]) => byLabel(namespace, key, value)),
    controller === undefined ? orphansOf(namespace) : byController(controller.uid),
    ...(pod.spec?.nodeName === undefined ? [] : [byNode(pod.spec.nodeName)]),
  ];
}

/** Nothing new may be made in a namespace that is being deleted: that is the end of the work there, no failure. */
async function unlessEnding(views: Views, key: string, work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    const { namespace = '' } = parseKey(key);
    const isEnding = views.namespaces.get(namespace)?.metadata?.deletionTimestamp !== undefined;
    if (!isEnding || !hasStatus(error, 403)) throw error;
  }
}

/** A context whose informers and queues wait for `run`, so that every controller has subscribed before. */
export function makeContext(
  client: ApiClient,
  logger: Logger,
  signal: AbortSignal,
): { readonly context: ControllerContext; readonly run: () => Promise<void> } {
  const views = makeViews(client, logger);
  const queues: WorkQueue[] = [];
  const followed: Followed[] = Object.values(views).map((view: { informer: Followed }) => view.informer);
  const context: ControllerContext = {
    client,
    views,
    logger,
    signal,
    follow: (informer) => followed.push(informer),
    recorder: (component) => new EventRecorder(client, { component, signal, logger }),
    queue: (name, process, concurrency = 1) => {
      const queue = new WorkQueue({
        name,
        process: async (key) => unlessEnding(views, key, process(key)),
        concurrency,
        logger,
        maxBackoffMs: 10_000,
      });
      queues.push(queue);
      return queue;
    },
  };
  const run = async (): Promise<void> => {
    const informers = followed.map((informer) => informer.run(signal));
    // Nothing is decided before everything is known: an owner not yet listed is not an owner that is gone.
    await Promise.all(followed.map((informer) => informer.synced(signal))).catch(() => undefined);
    await Promise.all([...informers, ...queues.map((queue) => queue.run(signal))]);
  };
  return { context, run };
}
