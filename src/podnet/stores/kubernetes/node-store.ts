import type { Node } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../../../cluster/api-client.ts';
import { Informer } from '../../../cluster/informer.ts';
import { NODES } from '../../../cluster/resource-type.ts';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Logger } from '../../../log/logger.ts';
import type { Cidr } from '../../../net/cidr.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import { WorkQueue } from '../../../reconcile/work-queue.ts';
import type { LeaseStore, LeaseStoreHandler, OwnNode, Publication } from '../lease-store.ts';
import { completePrefix, underPrefix } from './annotation-prefix.ts';
import {
  ANNOTATION_PREFIX,
  podCidrOf,
  publicIpOverwrite,
  publishedOffer,
  readLease,
  writePublication,
} from './annotations.ts';
import { sameView, viewNode, type NodeView } from './node-view.ts';
import { ABOUT, OFFERS } from './own-annotations.ts';

export interface NodeStoreOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly networks: ReadonlyMap<IpFamily, Cidr>;
  /** As flannel's --kube-annotation-prefix; flannel's default when absent. */
  readonly annotationPrefix?: string | undefined;
  readonly logger: Logger;
}

const PUBLISH = 'publish';

/**
 * The cluster's nodes as the pod network's database, as flannel uses it with --kube-subnet-mgr: pod CIDRs from
 * spec.podCIDRs, everything else in annotations. While the API server is away the last known state stays.
 */
export class NodeStore implements LeaseStore {
  readonly #options: NodeStoreOptions;
  readonly #informer: Informer<Node, NodeView>;
  readonly #queue: WorkQueue;
  readonly #prefix: string;
  #publication: Publication | undefined;
  #available = false;

  constructor(options: NodeStoreOptions) {
    this.#options = options;
    this.#prefix = completePrefix(options.annotationPrefix ?? ANNOTATION_PREFIX);
    this.#informer = new Informer(options.client, NODES, {
      project: (node) => viewNode(node, this.#prefix),
      logger: options.logger,
    });
    this.#queue = new WorkQueue({
      name: 'node-status',
      process: async () => this.#publishDifference(),
      maxBackoffMs: 10_000,
      logger: options.logger,
    });
  }

  get #self(): NodeView | undefined {
    return this.#informer.get(this.#options.nodeName);
  }

  get hasSynced(): boolean {
    return this.#informer.hasSynced;
  }

  /** Why the API server cannot be followed at the moment. */
  get failure(): unknown {
    return this.#informer.failure;
  }

  get isPublished(): boolean {
    const self = this.#self;
    if (self === undefined || this.#publication === undefined) return false;
    // What the node tells of itself beside that says nothing of how it is reached.
    return Object.keys(this.#changedAnnotations(self)).every((name) => name === ABOUT);
  }

  publish(publication: Publication): void {
    this.#publication = publication;
    this.#queue.add(PUBLISH);
  }

  /** Keeps the condition NetworkUnavailable at False: pods may be scheduled here. */
  markAvailable(): void {
    this.#available = true;
    this.#queue.add(PUBLISH);
  }

  /** Follows the cluster until the signal is aborted; never rejects. */
  async run(handler: LeaseStoreHandler, signal: AbortSignal): Promise<void> {
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

  #tell(handler: LeaseStoreHandler, node: NodeView): void {
    if (node.name === this.#options.nodeName) {
      handler.self(ownNode(node, this.#options.networks));
      this.#queue.add(PUBLISH);
      return;
    }
    const { lease, problems } = readLease(node, this.#options.networks);
    handler.peer(node.name, lease, problems);
  }

  /** By the status subresource, as flannel does: rights to change Nodes otherwise are not needed. */
  async #publishDifference(): Promise<void> {
    const self = this.#self;
    if (self === undefined) return;
    const annotations = this.#changedAnnotations(self);
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

  /** null for one that has to go. */
  #changedAnnotations(self: NodeView): Record<string, string | null> {
    if (this.#publication === undefined) return {};
    const wanted = writePublication(this.#publication);
    const changed = Object.entries<string | null>(wanted).filter(
      ([name, value]) => self.annotations[name] !== value,
    );
    if (wanted[OFFERS] === undefined && self.annotations[OFFERS] !== undefined) changed.push([OFFERS, null]);
    return Object.fromEntries(changed.map(([name, value]) => [underPrefix(name, this.#prefix), value]));
  }
}

/** What is wrong in one family, or with one annotation, leaves the rest. */
function ownNode(node: NodeView, networks: ReadonlyMap<IpFamily, Cidr>): OwnNode {
  const problems: FlatnetError[] = [];
  const attempt = <T>(read: () => T | undefined): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      problems.push(error);
      return undefined;
    }
  };
  const podCidrs = new Map<IpFamily, Cidr>();
  const publicIpOverwrites = new Map<IpFamily, Ip>();
  for (const [family, network] of networks) {
    const podCidr = attempt(() => podCidrOf(node, family, network));
    if (podCidr !== undefined) podCidrs.set(family, podCidr);
    const overwrite = attempt(() => publicIpOverwrite(node, family));
    if (overwrite !== undefined) publicIpOverwrites.set(family, overwrite);
  }
  const published = publishedOffer(node.annotations, networks.keys());
  return {
    name: node.name,
    podCidrs,
    internalIps: node.internalIps,
    published,
    publicIpOverwrites,
    problems,
  };
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
