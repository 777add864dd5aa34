import { Bandwidth } from '../cni/bandwidth/bandwidth.ts';
import type { PodFeature } from '../cni/pod-feature.ts';
import { PortMappings } from '../cni/port-mappings/port-mappings.ts';
import { ConntrackSocket } from '../kernel/conntrack/conntrack-socket.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import { TrafficControl } from '../kernel/netlink/traffic-control.ts';
import { NftSocket } from '../kernel/nft/nft-socket.ts';
import type { Logger } from '../log/logger.ts';

/** What the node does for pods beside connecting them. */
export class PodFeatures {
  /** In the order in which an ADD goes through them. */
  readonly list: readonly PodFeature[];
  readonly #portMappings: PortMappings;
  readonly #sockets: readonly { close(): void }[];

  constructor(kernel: RouteKernel, logger: Logger) {
    const nft = NftSocket.open();
    const conntrack = ConntrackSocket.open();
    const trafficControl = TrafficControl.open();
    this.#sockets = [nft, conntrack, trafficControl];
    this.#portMappings = new PortMappings({ nft, conntrack, kernel, logger });
    this.list = [new Bandwidth({ kernel, trafficControl, logger }), this.#portMappings];
  }

  /** Repairs what others change, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#portMappings.run(signal);
    for (const socket of this.#sockets) socket.close();
  }
}
