import type { ApiClient } from '../cluster/api-client.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Logger } from '../log/logger.ts';
import type { Cidr } from '../net/cidr.ts';
import type { IpFamily } from '../net/ip.ts';
import type { NodeFacts } from './node-facts.ts';
import type { ProxyConfig } from './config/proxy-config.ts';
import { nodeAddresses, watchNodeAddresses } from './node-addresses.ts';
import { configWarnings } from './config/warnings.ts';
import { NodeWatch } from './node-watch.ts';
import { resolveSettings } from './resolve-settings.ts';
import { followServiceRanges } from './service-ranges.ts';
import type { ProxySettings } from './settings.ts';

export interface SurroundingsOptions {
  readonly client: ApiClient;
  readonly nodeName: string;
  /** Of the node, where it is not to be asked for. */
  readonly node?: NodeFacts | undefined;
  /** Service ranges; undefined: those that ServiceCIDR objects name, where the mode makes use of them. */
  readonly serviceCidrs?: readonly Cidr[] | undefined;
  readonly routes: RouteKernel;
  /** Families that the kernel has. */
  readonly families: readonly IpFamily[];
  readonly logger: Logger;
}

/** What the proxy's settings depend on beside its configuration: the Node, the machine, the cluster's ranges. */
export class Surroundings {
  readonly #options: SurroundingsOptions;
  readonly #warned = new Set<string>();
  readonly #background: Promise<void>[] = [];
  #watch: NodeWatch | undefined;
  #ranges: readonly Cidr[] | undefined;
  #followsRanges = false;
  #changed: () => void = () => {};

  constructor(options: SurroundingsOptions) {
    this.#options = options;
    this.#ranges = options.serviceCidrs;
  }

  /** Called when something is another than it was. */
  set onChange(changed: () => void) {
    this.#changed = changed;
  }

  get node(): NodeFacts | undefined {
    return this.#options.node ?? this.#watch?.facts;
  }

  /** Resolves to true when everything that this configuration needs is known; NODE_UNKNOWN when that takes too long. */
  async known(config: ProxyConfig, signal: AbortSignal): Promise<boolean> {
    const { client, nodeName, logger, node } = this.#options;
    if (node === undefined && this.#watch === undefined) {
      const needsPodCidrs = config.detectLocalMode === 'NodeCIDR';
      this.#watch = new NodeWatch({ client, nodeName, needsPodCidrs, logger });
      this.#background.push(this.#watch.run(signal));
      if ((await this.#watch.ready(signal)) === undefined) return false;
      this.#watch.onChange = () => this.#changed();
    }
    if (config.mode === 'nftables' && this.#ranges === undefined) await this.#followRanges(signal);
    return !signal.aborted;
  }

  /** From now on addresses of the machine are followed. */
  followAddresses(signal: AbortSignal): void {
    watchNodeAddresses(this.#options.routes, () => this.#changed(), signal);
  }

  /** Addresses whose packets are this node's own. */
  nodeAddresses(): ReadonlySet<string> {
    return new Set(nodeAddresses(this.#options.routes).map(String));
  }

  /** What a mode is to be given as things are. Throws FAMILY_MISMATCH. */
  settings(config: ProxyConfig): ProxySettings {
    const { routes, families, logger } = this.#options;
    const node = this.node ?? { ips: [], podCidrs: [] };
    for (const warning of configWarnings(config, node)) {
      if (!this.#warned.has(warning)) logger.warn(warning);
      this.#warned.add(warning);
    }
    const serviceCidrs = this.#ranges ?? [];
    return resolveSettings({ config, node, serviceCidrs, families, addresses: nodeAddresses(routes) });
  }

  /** Resolves when nothing runs any more, after the signal was aborted. */
  async ended(): Promise<void> {
    await Promise.all(this.#background);
  }

  async #followRanges(signal: AbortSignal): Promise<void> {
    if (this.#followsRanges) return;
    this.#followsRanges = true;
    const { client, logger } = this.#options;
    await new Promise<void>((resolve) => {
      const changed = (ranges: readonly Cidr[]): void => {
        const first = this.#ranges === undefined;
        this.#ranges = ranges;
        if (first) resolve();
        else this.#changed();
      };
      signal.addEventListener('abort', () => resolve(), { once: true });
      this.#background.push(followServiceRanges({ client, logger, changed }, signal));
    });
  }
}
