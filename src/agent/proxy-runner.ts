import type { Registry } from 'prom-client';
import type { ApiClient } from '../cluster/api-client.ts';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { ProxyMode } from '../proxy/backend.ts';
import type { ProxyConfig } from '../proxy/config/proxy-config.ts';
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

/** Runs the service proxy in the agent, and starts it again when it fails. */
export class ProxyRunner {
  readonly #options: ProxyRunnerOptions;
  #config: ProxyConfig;
  #proxy: ServiceProxy | undefined;
  #failure: string | undefined;

  constructor(options: ProxyRunnerOptions) {
    this.#options = options;
    this.#config = this.#withPodRanges(options.config.proxy);
  }

  /** The mode that serves Services at the moment. */
  get mode(): ProxyMode {
    return this.#proxy?.mode ?? this.#config.mode;
  }

  /** Why Services are not served as the cluster wants, or nothing more should be sent to this node. */
  failure(): string | undefined {
    if (this.#failure !== undefined) return this.#failure;
    const health = this.#proxy?.health();
    if (health === undefined) return 'not started';
    if (!health.healthy) return health.reason ?? 'not synced';
    return health.nodeEligible ? undefined : 'the Node is about to be deleted';
  }

  /** As `ServiceProxy.switchTo`. */
  async switchTo(config: ProxyConfig): Promise<void> {
    const next = this.#withPodRanges(config);
    await this.#proxy?.switchTo(next);
    this.#config = next;
  }

  async run(signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ maxMs: 10_000 });
    while (!signal.aborted) {
      try {
        this.#proxy = this.#create();
        this.#failure = undefined;
        await this.#proxy.run(signal);
      } catch (error) {
        this.#failure = describeError(error);
        this.#options.logger.error({ error: this.#failure }, 'the service proxy cannot work; trying again');
        await sleep(backoff.next(), signal);
      }
      this.#proxy = undefined;
    }
  }

  /** The agent knows the pod ranges anyway. */
  #withPodRanges(config: ProxyConfig): ProxyConfig {
    if (config.clusterCIDR.length > 0) return config;
    return { ...config, clusterCIDR: [...this.#options.config.network.networks.values()] };
  }

  #create(): ServiceProxy {
    const { client, nodeName, registry, logger } = this.#options;
    const { serviceCIDRs } = this.#options.config;
    return new ServiceProxy({
      client,
      nodeName,
      config: this.#config,
      ...(serviceCIDRs.length > 0 ? { serviceCidrs: serviceCIDRs } : {}),
      registry,
      logger,
    });
  }
}
