import type { Registry } from 'prom-client';
import type { ApiClient } from '../cluster/api-client.ts';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { Ip } from '../net/ip.ts';
import { ServiceProxy } from '../proxy/proxy.ts';
import { Backoff, sleep } from '../timing/backoff.ts';
import type { AgentConfig } from './config.ts';

export interface ProxyRunnerOptions {
  readonly config: AgentConfig;
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly registry: Registry;
  readonly logger: Logger;
}

/** Starts the service proxy when the node's addresses are known, and again when they change or it fails. */
export class ProxyRunner {
  readonly #options: ProxyRunnerOptions;
  #proxy: ServiceProxy | undefined;
  #nodeIps: readonly Ip[] = [];
  #failure: string | undefined;
  #restart = new AbortController();
  #known: (() => void) | undefined;

  constructor(options: ProxyRunnerOptions) {
    this.#options = options;
  }

  /** Why Services are not served as the cluster wants. */
  failure(): string | undefined {
    if (this.#failure !== undefined) return this.#failure;
    const health = this.#proxy?.health();
    if (health === undefined) return "waiting for the node's addresses";
    return health.healthy ? undefined : (health.reason ?? 'not synced');
  }

  start(nodeIps: readonly Ip[]): void {
    if (String(nodeIps) === String(this.#nodeIps)) return;
    this.#nodeIps = nodeIps;
    this.#known?.();
    this.#restart.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ maxMs: 10_000 });
    await this.#addressesKnown(signal);
    while (!signal.aborted) {
      this.#restart = new AbortController();
      const either = AbortSignal.any([signal, this.#restart.signal]);
      try {
        this.#proxy ??= this.#create();
        this.#failure = undefined;
        await this.#proxy.run(either);
      } catch (error) {
        this.#failure = describeError(error);
        this.#options.logger.error({ error: this.#failure }, 'the service proxy cannot work; trying again');
        await sleep(backoff.next(), either);
      }
      this.#proxy = undefined;
    }
  }

  #create(): ServiceProxy {
    const { config, client, nodeName, registry, logger } = this.#options;
    const { nftables, clusterCIDR } = config.proxy;
    // A proxy that is made anew registers its metrics again.
    for (const { name } of registry.getMetricsAsArray()) {
      if (name.startsWith('kubeproxy_')) registry.removeSingleMetric(name);
    }
    return new ServiceProxy({
      client,
      nodeName,
      nodeIps: this.#nodeIps,
      clusterCidrs: clusterCIDR.length > 0 ? clusterCIDR : [...config.network.networks.values()],
      serviceCidrs: config.serviceCIDRs,
      masqueradeAll: nftables.masqueradeAll,
      masqueradeBit: nftables.masqueradeBit,
      registry,
      logger,
    });
  }

  async #addressesKnown(signal: AbortSignal): Promise<void> {
    if (this.#nodeIps.length > 0 || signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#known = resolve;
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }
}
