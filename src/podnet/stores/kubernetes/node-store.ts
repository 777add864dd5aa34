import type { Node } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../../../cluster/api-client.ts';
import { Informer } from '../../../cluster/informer.ts';
import { NODES } from '../../../cluster/resource-type.ts';
import type { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Logger } from '../../../log/logger.ts';
import type { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import { WorkQueue } from '../../../reconcile/work-queue.ts';
import type { NodeLease } from '../../node-lease.ts';
import { readLease, writeLease, type Annotations } from './annotations.ts';
import { sameView, viewNode, type NodeView } from './node-view.ts';

export interface NodeStoreOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly networks: ReadonlyMap<IpFamily, Cidr>;
  readonly logger: Logger;
}

/** Called synchronously; must not throw. */
export interface NodeStoreHandler {
  /** This node's own object; undefined while there is none. */
  self(node: NodeView | undefined): void;
  /** Another node's lease; undefined when it has none (any more). */
  peer(node: string, lease: NodeLease | undefined, problems: readonly FlatnetError[]): void;
  /** Every node has been told once. */
  synced(): void;
}

const PUBLISH = 'publish';

/**
 * The cluster's nodes as the pod network's database, as flannel uses it with --kube-subnet-mgr: pod CIDRs from
 * spec.podCIDRs, everything else in annotations. While the API server is away the last known state stays.
 */
export class NodeStore {
  readonly #options: NodeStoreOptions;
  readonly #informer: Informer<Node, NodeView>;
  readonly #queue: WorkQueue;
  #published: NodeLease | undefined;
  #available = false;

  constructor(options: NodeStoreOptions) {
    this.#options = options;
    this.#informer = new Informer(options.client, NODES, { project: viewNode, logger: options.logger });
    this.#queue = new WorkQueue({
      name: 'node-status',
      process: async () => this.#publishDifference(),
      maxBackoffMs: 10_000,
      logger: options.logger,
    });
  }

  /** This node as the API server knows it. */
  get self(): NodeView | undefined {
    return this.#informer.get(this.#options.nodeName);
  }

  get hasSynced(): boolean {
    return this.#informer.hasSynced;
  }

  /** Why the API server cannot be followed at the moment. */
  get failure(): unknown {
    return this.#informer.failure;
  }

  /** Keeps this node's lease published, also when somebody removes it or the Node object is made anew. */
  publish(lease: NodeLease): void {
    this.#published = lease;
    this.#queue.add(PUBLISH);
  }

  /** Keeps the condition NetworkUnavailable at False: pods may be scheduled here. */
  markAvailable(): void {
    this.#available = true;
    this.#queue.add(PUBLISH);
  }

  /** Follows the cluster until the signal is aborted; never rejects. */
  async run(handler: NodeStoreHandler, signal: AbortSignal): Promise<void> {
    this.#informer.subscribe({
      added: (node) => this.#tell(handler, node),
      updated: (node, old) => {
        if (!sameView(node, old)) this.#tell(handler, node);
      },
      deleted: ({ name }) => {
        if (name === this.#options.nodeName) handler.self(undefined);
        else handler.peer(name, undefined, []);
      },
    });
    const synced = this.#informer.synced(signal).then(
      () => handler.synced(),
      () => undefined,
    );
    await Promise.all([this.#informer.run(signal), this.#queue.run(signal), synced]);
  }

  #tell(handler: NodeStoreHandler, node: NodeView): void {
    if (node.name === this.#options.nodeName) {
      handler.self(node);
      this.#queue.add(PUBLISH);
      return;
    }
    const { lease, problems } = readLease(node, this.#options.networks);
    handler.peer(node.name, lease, problems);
  }

  /** By the status subresource, as flannel does: rights to change Nodes otherwise are not needed. */
  async #publishDifference(): Promise<void> {
    const { self } = this;
    if (self === undefined) return;
    const annotations = this.#missingAnnotations(self);
    const setCondition = this.#available && !self.networkAvailable;
    if (Object.keys(annotations).length === 0 && !setCondition) return;
    const body = {
      ...(Object.keys(annotations).length === 0 ? {} : { metadata: { annotations } }),
      ...(setCondition ? { status: { conditions: [networkAvailable(new Date())] } } : {}),
    };
    const { client, nodeName, logger } = this.#options;
    await client.patch(NODES, { name: nodeName }, { type: 'strategic', body }, { subresource: 'status' });
    logger.info({ annotations, networkAvailable: this.#available }, 'node status published');
  }

  #missingAnnotations(self: NodeView): Annotations {
    if (this.#published === undefined) return {};
    const wanted = Object.entries(writeLease(this.#published));
    return Object.fromEntries(wanted.filter(([name, value]) => self.annotations[name] !== value));
  }
}

function networkAvailable(now: Date): object {
  return {
    type: 'NetworkUnavailable',
    status: 'False',
    reason: 'FlatnetIsUp',
    message: 'Flatnet is running on this node',
    lastHeartbeatTime: now.toISOString(),
    lastTransitionTime: now.toISOString(),
  };
}
