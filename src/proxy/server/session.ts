import { isDeepStrictEqual } from 'node:util';
import type { Registry } from 'prom-client';
import type { ClusterAccess } from '../../cluster/access.ts';
import { ApiClient } from '../../cluster/api-client.ts';
import { EventRecorder } from '../../cluster/event-recorder.ts';
import { describeError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import type { KubeProxyConfig } from '../config/proxy-config.ts';
import { ServiceProxy } from '../proxy.ts';
import { serveHttp } from './http-server.ts';
import { processRegistry } from './process-metrics.ts';
import { serveHealth, serveMetrics, type StatusSource } from './status.ts';

export interface SessionOptions {
  readonly config: KubeProxyConfig;
  readonly access: ClusterAccess;
  readonly nodeName: string;
  readonly logger: Logger;
}

/** What a running proxy cannot take over: another node, another API server, other servers of its own. */
const OF_SESSION = [
  'clientConnection',
  'hostnameOverride',
  'healthzBindAddress',
  'metricsBindAddress',
  'bindAddressHardFail',
] as const satisfies readonly (keyof KubeProxyConfig)[];

/** The proxy with the servers that tell of it, for one API server and one node. */
export class Session {
  readonly #options: SessionOptions;
  readonly #registry: Registry = processRegistry();
  readonly #client: ApiClient;
  readonly #proxy: ServiceProxy;
  #config: KubeProxyConfig;

  constructor(options: SessionOptions) {
    const { access, nodeName, logger, config } = options;
    this.#options = options;
    this.#config = config;
    this.#client = new ApiClient(access, 'flatnet-proxy');
    this.#proxy = new ServiceProxy({
      client: this.#client,
      nodeName,
      config,
      registry: this.#registry,
      logger,
    });
  }

  /** Whether `switchTo` can take this configuration. */
  canTake(config: KubeProxyConfig): boolean {
    return OF_SESSION.every((field) => isDeepStrictEqual(this.#config[field], config[field]));
  }

  /** Goes on with another configuration; rejects where it cannot, and all stays as it was. */
  async switchTo(config: KubeProxyConfig): Promise<void> {
    await this.#proxy.switchTo(config);
    this.#config = config;
  }

  /** Serves until the signal is aborted. Rejects where the mode or, with bindAddressHardFail, a port cannot be had. */
  async run(signal: AbortSignal): Promise<void> {
    const end = new AbortController();
    const either = AbortSignal.any([signal, end.signal]);
    const events = new EventRecorder(this.#client, {
      component: 'flatnet-proxy',
      host: this.#options.nodeName,
      signal: either,
    });
    // kube-proxy's uid is the name too: it has no right to read Nodes elsewhere.
    const { nodeName } = this.#options;
    const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: nodeName, uid: nodeName } };
    const parts = [this.#proxy.run(either), ...this.#servers(either)];
    void this.#proxy.synced().then(() => events.record(node, 'Normal', 'Starting', 'serving Services'));
    try {
      await Promise.all(parts);
    } catch (error) {
      events.record(node, 'Warning', 'FailedToServeServices', describeError(error));
      throw error;
    } finally {
      end.abort();
      await Promise.allSettled(parts);
      await this.#client.close();
    }
  }

  #servers(signal: AbortSignal): Promise<void>[] {
    const { logger } = this.#options;
    const { bindAddressHardFail: hardFail } = this.#config;
    const kinds = [
      ['healthzBindAddress', serveHealth],
      ['metricsBindAddress', serveMetrics],
    ] as const;
    return kinds.flatMap(([field, answer]) => {
      const address = this.#config[field];
      if (address === undefined) return [];
      const source = this.#status();
      return serveHttp(
        {
          field,
          address,
          hardFail,
          logger,
          answer: async (request, response) => answer(source, request, response),
        },
        signal,
      );
    });
  }

  #status(): StatusSource {
    const proxy = this.#proxy;
    return {
      health: () => proxy.health(),
      mode: () => proxy.mode,
      registry: this.#registry,
      config: () => this.#config,
      count: (endpoint, code) => proxy.metrics[endpoint].inc({ code: String(code) }),
    };
  }
}
