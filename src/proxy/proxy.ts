import type { Registry } from 'prom-client';
import type { ApiClient } from '../cluster/api-client.ts';
import type { Logger } from '../log/logger.ts';
import type { Cidr } from '../net/cidr.ts';
import type { Ip } from '../net/ip.ts';

export interface ServiceProxyOptions {
  readonly client: ApiClient;
  /** This node's name, as it stands in `nodeName` of endpoints. */
  readonly nodeName: string;
  /** The node's own addresses (InternalIPs): node ports answer there. */
  readonly nodeIps: readonly Ip[];
  /** Pod ranges of the whole cluster: other sources that call a ClusterIP are masqueraded. Empty: none are. */
  readonly clusterCidrs: readonly Cidr[];
  /** Service ranges: packets to addresses there that no Service has are dropped. Empty: they go their way. */
  readonly serviceCidrs?: readonly Cidr[];
  /** Masquerade everything that calls a ClusterIP. Default false. */
  readonly masqueradeAll?: boolean;
  /** Bit of the packet mark that asks for masquerade. Default 14 (0x4000), as kube-proxy. */
  readonly masqueradeBit?: number;
  readonly registry: Registry;
  readonly logger: Logger;
}

/** What /healthz tells of the proxy. */
export interface ProxyHealth {
  /** Rules of everything that is known are in the kernel, and no later change is overdue. */
  readonly healthy: boolean;
  /** When the kernel last took a change; milliseconds since the epoch. */
  readonly lastSyncMs?: number;
  /** Why not healthy. */
  readonly reason?: string;
}

/**
 * The node's service proxy in nftables mode: Services and EndpointSlices of the API in, elements of nftables maps
 * out. What is in the kernel when it starts is adopted, and stays when it ends.
 */
export class ServiceProxy {
  constructor(options: ServiceProxyOptions) {
    void options;
  }

  /** Follows the cluster until the signal is aborted. Rejects only if the kernel cannot serve the proxy at all. */
  async run(signal: AbortSignal): Promise<void> {
    void signal;
  }

  /** Resolves when the first complete sync is in the kernel. */
  async synced(): Promise<void> {}

  health(): ProxyHealth {
    return { healthy: false, reason: 'not started' };
  }
}
