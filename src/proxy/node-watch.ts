import type { Node } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../cluster/api-client.ts';
import { Informer } from '../cluster/informer.ts';
import { NODES } from '../cluster/resource-type.ts';
import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { projectNode, type NodeFacts } from './node-facts.ts';

export interface NodeWatchOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  /** Whether spec.podCIDRs must be there too (detectLocalMode NodeCIDR). */
  readonly needsPodCidrs: boolean;
  readonly logger: Logger;
  /** 5 minutes when absent, as kube-proxy. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 300_000;
/** The log says that often what is waited for. */
const TELL_MS = 30_000;

/** This node's own Node object. */
export class NodeWatch {
  readonly #options: NodeWatchOptions;
  readonly #informer: Informer<Node, NodeFacts>;
  #facts: NodeFacts | undefined;
  #changed: () => void = () => {};

  constructor(options: NodeWatchOptions) {
    this.#options = options;
    const { client, nodeName, logger } = options;
    this.#informer = new Informer(client, NODES, {
      fieldSelector: `metadata.name=${nodeName}`,
      project: projectNode,
      logger,
    });
    const take = (facts: NodeFacts): void => {
      this.#facts = this.#keepingAddresses(facts);
      this.#changed();
    };
    this.#informer.subscribe({
      added: take,
      updated: take,
      deleted: () => {
        logger.error(
          { node: nodeName },
          'the Node object is gone; its Services go on being served as they are known',
        );
        if (this.#facts !== undefined) take({ ...this.#facts, eligible: false });
      },
    });
  }

  /** As last known; undefined before there was such a Node. */
  get facts(): NodeFacts | undefined {
    return this.#facts;
  }

  /** Called when the object has changed; the last one given counts. */
  set onChange(changed: () => void) {
    this.#changed = changed;
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#informer.run(signal);
  }

  /**
   * Resolves when the Node has what the proxy needs; undefined when the signal is aborted before. Throws NODE_UNKNOWN
   * when it takes too long.
   */
  async ready(signal: AbortSignal): Promise<NodeFacts | undefined> {
    const { nodeName, logger, timeoutMs = TIMEOUT_MS } = this.#options;
    const told = setInterval(
      () => logger.warn({ node: nodeName }, `waiting: ${this.#missing() ?? ''}`),
      TELL_MS,
    );
    const late = AbortSignal.timeout(timeoutMs);
    try {
      const given = await this.#arrival(AbortSignal.any([signal, late]));
      if (given !== undefined || signal.aborted) return given;
    } finally {
      clearInterval(told);
      this.#changed = () => {};
    }
    throw new FlatnetError(`${this.#missing() ?? ''}, for ${timeoutMs / 1000} seconds`, {
      code: 'NODE_UNKNOWN',
      hint: 'check that the node is registered under this name (kubectl get nodes); --hostname-override gives another one',
      retryable: true,
    });
  }

  async #arrival(signal: AbortSignal): Promise<NodeFacts | undefined> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (signal.aborted) resolve(undefined);
        else if (this.#missing() === undefined) resolve(this.#facts);
      };
      this.#changed = look;
      signal.addEventListener('abort', look, { once: true });
      look();
    });
  }

  /** A Node that loses its addresses or ranges for a while (a kubelet that begins anew) keeps its node ports. */
  #keepingAddresses(facts: NodeFacts): NodeFacts {
    const known = this.#facts;
    if (known === undefined) return facts;
    const ips = facts.ips.length > 0 ? facts.ips : known.ips;
    const podCidrs = facts.podCidrs.length > 0 ? facts.podCidrs : known.podCidrs;
    if (facts.ips.length === 0 && known.ips.length > 0) {
      const { logger, nodeName } = this.#options;
      logger.error(
        { node: nodeName },
        `Node ${nodeName} has no InternalIP any more; the last one known stays`,
      );
    }
    return { ...facts, ips, podCidrs };
  }

  #missing(): string | undefined {
    const { nodeName, needsPodCidrs } = this.#options;
    const { failure } = this.#informer;
    if (this.#facts === undefined && failure !== undefined) {
      return `the API server cannot be asked for Node ${nodeName}: ${describeError(failure)}`;
    }
    if (this.#facts === undefined) return `there is no Node ${nodeName}`;
    if (this.#facts.ips.length === 0) return `Node ${nodeName} has no InternalIP in status.addresses`;
    if (needsPodCidrs && this.#facts.podCidrs.length === 0) return `Node ${nodeName} has no spec.podCIDRs`;
    return undefined;
  }
}
