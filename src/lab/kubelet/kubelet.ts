import type { Node, NodeCondition, NodeStatus, Pod } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../../cluster/api-client.ts';
import { hasStatus } from '../../cluster/api-error.ts';
import { EventRecorder } from '../../cluster/event-recorder.ts';
import { Informer } from '../../cluster/informer.ts';
import { keyOf } from '../../cluster/kube-object.ts';
import { keepLease } from '../../cluster/lease.ts';
import { NODES, PODS } from '../../cluster/resource-type.ts';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import { retry, sleep } from '../../timing/backoff.ts';
import type { LabNode } from '../node/lab-node.ts';
import { CniRuntime } from './cni-runtime.ts';
import type { ContainerWorker } from './container-worker.ts';
import { seconds } from './container-worker.ts';
import type { DnsFacts } from './dns-config.ts';
import { KUBELET_PORT, KubeletServer } from './kubelet-server.ts';
import { newNode, nodeStatus, type NodeFacts } from './node-status.ts';
import type { NodeContext } from './pod-context.ts';
import type { PodObjects } from './pod-objects.ts';
import { PodSetup } from './pod-setup.ts';
import { PodWorker } from './pod-worker.ts';
import type { ServiceView } from './service-view.ts';
import type { StartSlots } from './start-slots.ts';

export interface KubeletOptions {
  readonly client: ApiClient;
  readonly node: LabNode;
  readonly addresses: readonly string[];
  readonly dns: DnsFacts;
  readonly objects: PodObjects;
  readonly services: ServiceView;
  readonly slots: StartSlots;
  readonly serving: { readonly certificate: string; readonly key: string };
  readonly clientAuthority: string;
  readonly logger: Logger;
}

/** The pod network is looked for often until it is there: a node shall be Ready as soon as it can be. */
const NETWORK_POLL_MS = 50;
const STEADY_POLL_MS = 2000;
/** As a kubelet's nodeStatusUpdateFrequency. */
const CHECK_MS = 10_000;
/** As a kubelet's nodeStatusReportFrequency; the lease tells that it is alive. */
const REPORT_MS = 300_000;

/** One node's kubelet: registers the node, reports, runs the pods that are bound to it. */
export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #signal: AbortSignal;
  readonly #cni: CniRuntime;
  readonly #setup: PodSetup;
  readonly #shared: NodeContext;
  readonly #pods: Informer<Pod, Pod>;
  readonly #workers = new Map<string, PodWorker>();
  readonly #running = new Set<Promise<void>>();
  /** Pods whose worker is done while the object stays, held by somebody's finalizer. */
  readonly #finished = new Set<string>();
  #reportedAt = 0;
  /** What was last said about the network. */
  #reported: string | undefined;

  constructor(options: KubeletOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#cni = new CniRuntime(options.node);
    const { client, node, logger } = options;
    const recorder = new EventRecorder(client, { component: 'kubelet', host: node.name, signal, logger });
    this.#shared = {
      node,
      hostIps: options.addresses,
      dns: options.dns,
      objects: options.objects,
      slots: options.slots,
      serviceVariables: async (namespace, links) => options.services.variables(namespace, links, signal),
      event: (pod, type, reason, message) => {
        logger.info({ pod: `${pod.metadata?.namespace}/${pod.metadata?.name}`, reason, message }, 'event');
        recorder.record({ ...pod, apiVersion: 'v1', kind: 'Pod' }, type, reason, message);
      },
    };
    this.#setup = new PodSetup(this.#shared, this.#cni);
    this.#pods = new Informer(client, PODS, {
      project: (pod) => pod,
      fieldSelector: `spec.nodeName=${node.name}`,
      logger,
    });
  }

  /** Runs until the signal is aborted and every pod's worker has let go. */
  async run(): Promise<void> {
    const { client, node, serving, clientAuthority } = this.#options;
    await KubeletServer.start({
      ...serving,
      clientAuthority,
      netns: node.netns.fd,
      container: (namespace, pod, container) => this.#container(namespace, pod, container),
      signal: this.#signal,
    });
    await retry(async () => this.#register(), { signal: this.#signal, maxMs: 2000 });
    this.#pods.subscribe({
      added: (pod) => this.#onPod(pod),
      updated: (pod) => this.#onPod(pod),
      deleted: (pod) => {
        this.#finished.delete(pod.metadata?.uid ?? '');
        this.#workers.get(pod.metadata?.uid ?? '')?.removed();
      },
    });
    const lease = { namespace: 'kube-node-lease', name: node.name, holder: node.name };
    await Promise.all([this.#pods.run(this.#signal), keepLease(client, lease, this.#signal), this.#report()]);
    await Promise.all(this.#running);
  }

  #onPod(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const known = this.#workers.get(uid);
    if (known !== undefined) {
      known.update(pod);
      return;
    }
    if (this.#finished.has(uid)) return;
    const worker = new PodWorker(this.#shared, this.#setup, this.#options.client, pod, this.#signal);
    this.#workers.set(uid, worker);
    const running = worker.run().finally(() => {
      this.#workers.delete(uid);
      if (this.#pods.get(keyOf(pod))?.metadata?.uid === uid) this.#finished.add(uid);
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  #container(namespace: string, podName: string, name: string): ContainerWorker {
    const worker = [...this.#workers.values()].find(
      ({ pod }) => pod.metadata?.namespace === namespace && pod.metadata.name === podName,
    );
    const found = worker?.container(name);
    if (found !== undefined) return found;
    const what =
      worker === undefined
        ? `pod "${podName}" not found`
        : `container "${name}" of pod "${podName}" not found`;
    throw new FlatnetError(what, { code: 'POD_NOT_FOUND' });
  }

  async #register(): Promise<void> {
    const { client } = this.#options;
    try {
      await client.create(NODES, newNode(this.#facts()));
    } catch (error) {
      // There already: the kubelet was started again.
      if (!hasStatus(error, 409)) throw error;
    }
    await this.#writeStatus();
  }

  /** Tells of the network at once, and now and then looks whether the API still has what was told. */
  async #report(): Promise<void> {
    let checkedAt = Date.now();
    while (!this.#signal.aborted) {
      await sleep(this.#reported === undefined ? STEADY_POLL_MS : NETWORK_POLL_MS, this.#signal);
      const isNews = this.#networkProblem() !== this.#reported;
      if (this.#signal.aborted || (!isNews && Date.now() - checkedAt < CHECK_MS)) continue;
      try {
        await this.#writeStatus();
        checkedAt = Date.now();
      } catch (error) {
        this.#reported = 'not told';
        this.#options.logger.warn({ error: describeError(error) }, 'cannot write the status of the node');
      }
    }
  }

  /** Writes what differs from the API's; times of heartbeats alone are written every five minutes. */
  async #writeStatus(): Promise<void> {
    const { client, node } = this.#options;
    const old = await client.get<Node>(NODES, { name: node.name });
    const conditions: NodeCondition[] = old.status?.conditions ?? [];
    const facts = this.#facts();
    const status = nodeStatus(facts, conditions, seconds(new Date()));
    this.#reported = facts.networkProblem;
    if (Date.now() - this.#reportedAt < REPORT_MS && !differs(status, conditions)) return;
    // Addresses are merged by type in a strategic patch, which would lose one of two InternalIPs; conditions have
    // other owners besides the kubelet, which a merge patch would lose.
    const { conditions: own, ...rest } = status;
    const ref = { name: node.name };
    const options = { subresource: 'status' };
    await client.patch(NODES, ref, { type: 'merge', body: { status: rest } }, options);
    await client.patch(NODES, ref, { type: 'strategic', body: { status: { conditions: own } } }, options);
    this.#reportedAt = Date.now();
  }

  #facts(): NodeFacts {
    const { node, addresses } = this.#options;
    return { name: node.name, addresses, kubeletPort: KUBELET_PORT, networkProblem: this.#networkProblem() };
  }

  #networkProblem(): string | undefined {
    const prefix =
      'container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error:';
    try {
      return this.#cni.config() === undefined ? `${prefix} cni plugin not initialized` : undefined;
    } catch (error) {
      return `${prefix} ${describeError(error)}`;
    }
  }
}

/** Whether a condition is missing in the API or says something else there. */
function differs(status: NodeStatus, present: readonly NodeCondition[]): boolean {
  return (status.conditions ?? []).some((own) => {
    const there = present.find(({ type }) => type === own.type);
    return there?.status !== own.status || there.message !== own.message;
  });
}
