import { dirname, join } from 'node:path';
import { Aliases } from '../cni/aliases/aliases.ts';
import { Attacher, type PodAttachmentPoint } from '../cni/attacher.ts';
import { AttachmentFolder } from '../cni/attachments/attachment-folder.ts';
import type { AttachmentRecord, InterfaceMode } from '../cni/attachments/attachment-record.ts';
import { type BridgeWish, ensureBridge, gatewaysOf } from '../cni/bridge.ts';
import type { PodInterfaceKernels } from '../cni/container-netns.ts';
import { hostVethName } from '../cni/host-veth.ts';
import type { PodAddresses } from '../cni/pod-addresses.ts';
import type { PodFeature } from '../cni/pod-feature.ts';
import { routeToPod } from '../cni/pod-interface.ts';
import { changePodMtu } from '../cni/pod-mtu.ts';
import { POD_ROUTE_PROTOCOL } from '../cni/pod-routes.ts';
import { routeStrandedPods } from '../cni/stranded-pods.ts';
import { blackholeUnused, withoutBlackholes } from '../cni/unused-addresses.ts';
import { describeError } from '../errors/flatnet-error.ts';
import type { Link, RouteEvent } from '../kernel/netlink/objects.ts';
import type { Logger } from '../log/logger.ts';
import { sleep } from '../timing/backoff.ts';
import { PodPools } from './pod-attachment-pools.ts';

export interface PodAttachmentOptions {
  readonly kernels: PodInterfaceKernels;
  readonly logger: Logger;
  /** `/var/lib/cni/networks`: reservations. The records of attachments stand beside it, in `flatnet`. */
  readonly dataDir: string;
  readonly networkName: string;
  readonly mode: InterfaceMode;
  /** What the node does for pods beside connecting them. */
  readonly features?: readonly PodFeature[];
}

/** An ADD reserves first and connects a few milliseconds later: what is younger may only be on its way. */
const RECLAIM_MIN_AGE_MS = 60_000;
const SWEEP_EVERY_MS = 60_000;
const REPAIR_DELAY_MS = 50;

/** What hangs pods on the node: bridge or routes, addresses, and the records of what hangs there, kept in order. */
export class PodAttachment {
  readonly #options: PodAttachmentOptions;
  readonly #pools: PodPools;
  #attacher: { readonly attacher: Attacher; readonly folder: AttachmentFolder } | undefined;
  #wish: BridgeWish | undefined;
  #bridge: Link | undefined;
  #repairPending = false;
  /** What ends `run`; undefined before it. */
  #running: AbortSignal | undefined;
  #onConfigured: (() => void) | undefined;

  constructor(options: PodAttachmentOptions) {
    this.#options = options;
    this.#pools = new PodPools({ ...options, reclaim: () => this.reclaim() });
  }

  /** What an ADD works with; undefined before `configure`. */
  get point(): PodAttachmentPoint | undefined {
    if (this.#wish === undefined) return undefined;
    const { name, mtu } = this.#wish;
    return { bridge: name, knownBridge: this.#bridge, mtu, mode: this.#options.mode };
  }

  get reserved(): number {
    return this.#wish === undefined ? 0 : this.#pools.node.size;
  }

  get capacity(): number {
    return this.#wish === undefined ? 0 : Number(this.#pools.node.capacity);
  }

  get addresses(): PodAddresses {
    return this.#pools;
  }

  /** Throws ATTACHMENTS_IO. */
  get attacher(): Attacher {
    return this.#opened().attacher;
  }

  /** Every interface of a pod that this node knows of. Throws ATTACHMENTS_IO. */
  records(): AttachmentRecord[] {
    return this.#opened().folder.all();
  }

  /** Interfaces of pods with addresses that are not of this node's range (any more). */
  get stranded(): AttachmentRecord[] {
    if (this.#wish === undefined) return [];
    return this.records().filter((record) => this.#isForeign(record));
  }

  /** Restores what pods had, then looks for pods that vanished, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    await this.#configuredOrAborted(signal);
    if (signal.aborted) return;
    await this.#restore();
    this.#running = signal;
    this.#watchRoutes(signal);
    while (!signal.aborted) {
      await this.#sweep();
      await sleep(SWEEP_EVERY_MS, signal);
    }
  }

  /** Brings node and address pool to the wish; pods that are connected stay so. Throws in the kernel's words, IPAM_IO. */
  configure(wish: BridgeWish): void {
    this.#opened();
    this.#pools.configure(wish.podCidrs);
    this.#wish = wish;
    this.repair();
    this.reclaim();
    this.#onConfigured?.();
  }

  /** Gives all pods that are connected this MTU, at both ends. Pods that cannot be reached are logged. */
  changeMtu(mtu: number): void {
    const { kernels, logger } = this.#options;
    for (const record of this.records()) {
      try {
        changePodMtu(kernels, record, mtu);
      } catch (error) {
        logger.warn(
          { container: record.containerId, error: describeError(error) },
          'cannot change the MTU of a pod',
        );
      }
    }
  }

  /** Makes bridge and routes as they should be, and pods' interfaces its ports again, whoever took them away. */
  repair(): void {
    if (this.#wish === undefined) return;
    const { kernels, mode } = this.#options;
    const records = this.records();
    const routed = records.filter((record) => record.mode === 'ptp');
    const links = new Map(kernels.node.links().map((link) => [link.name, link]));
    for (const { hostInterface, addresses } of routed) {
      const veth = links.get(hostInterface);
      if (veth !== undefined) routeToPod(kernels.node, veth, addresses);
    }
    // A node that has gone over to routing keeps the bridge for pods that are older.
    if (mode === 'ptp' && routed.length === records.length && !links.has(this.#wish.name)) {
      blackholeUnused(kernels.node, this.#wish.podCidrs);
      return;
    }
    withoutBlackholes(kernels.node);
    const bridged = records.filter((record) => record.mode === 'bridge');
    const gateways = bridged.flatMap(({ addresses }) => gatewaysOf(addresses));
    const bridge = ensureBridge(kernels.node, { ...this.#wish, gateways });
    const stranded = bridged.filter((record) => this.#isForeign(record));
    routeStrandedPods(
      kernels.node,
      bridge.index,
      stranded.flatMap(({ addresses }) => addresses),
    );
    // Those of another plugin that was here before have a reservation, and no record.
    const ports = new Map(this.#pools.node.reservations().map((owner) => [hostVethName(owner), true]));
    for (const { hostInterface, hairpin } of bridged) ports.set(hostInterface, hairpin ?? true);
    for (const { hostInterface } of routed) ports.delete(hostInterface);
    this.#bridge = bridge;
    this.#enslave(bridge, links, ports);
  }

  /**
   * Frees addresses whose interface no longer exists: both ends of a veth die together, so without the node's end
   * there is nobody who could use the address. While the bridge has a port that no reservation explains (another
   * plugin made it, under a name of its own), nothing can be told apart and nothing is freed. Returns how many.
   */
  reclaim(): number {
    const { kernels, logger } = this.#options;
    if (this.#wish === undefined) return 0;
    const pool = this.#pools.node;
    const links = kernels.node.links();
    const records = this.records().map(({ hostInterface }) => hostInterface);
    const known = new Set([...pool.reservations().map(hostVethName), ...records]);
    const bridge = links.find(({ name }) => name === this.#wish?.name)?.index;
    const foreign = links.filter(
      ({ master, name }) => bridge !== undefined && master === bridge && !known.has(name),
    );
    if (foreign.length > 0) {
      logger.debug(
        { ports: foreign.map(({ name }) => name) },
        'ports of unknown pods: no address is reclaimed',
      );
      return 0;
    }
    const present = new Set(links.map(({ name }) => name));
    try {
      const freed = pool.reclaim((owner) => present.has(hostVethName(owner)), RECLAIM_MIN_AGE_MS, Date.now());
      for (const { ip, containerId } of freed) {
        logger.info(
          { ip: ip.toString(), container: containerId },
          'address of a vanished container reclaimed',
        );
      }
      return freed.length;
    } catch (error) {
      logger.warn({ error: describeError(error) }, 'cannot reclaim addresses');
      return 0;
    }
  }

  /** Routes to pods that somebody takes away come back; only a node that routes to all of its pods looks for that. */
  #watchRoutes(signal: AbortSignal): void {
    if (this.#options.mode !== 'ptp') return;
    const onEvent = (event: RouteEvent): void => {
      const gone =
        event.kind === 'route' && event.action === 'delete' && event.route.protocol === POD_ROUTE_PROTOCOL;
      if (gone || event.kind === 'resync') this.#repairSoon(signal);
    };
    this.#options.kernels.node.watch({ groups: ['route'], signal, onEvent });
  }

  /** A pod that goes takes its routes along: a moment later there is nothing to repair. */
  #repairSoon(signal: AbortSignal): void {
    if (this.#repairPending) return;
    this.#repairPending = true;
    void sleep(REPAIR_DELAY_MS, signal).then(() => {
      this.#repairPending = false;
      if (!signal.aborted) this.#tryRepair();
    });
  }

  #tryRepair(): void {
    try {
      this.repair();
    } catch (error) {
      this.#options.logger.warn({ error: describeError(error) }, 'cannot repair what pods hang on');
    }
  }

  async #configuredOrAborted(signal: AbortSignal): Promise<void> {
    if (this.#wish !== undefined || signal.aborted) return;
    await new Promise<void>((resolve) => {
      this.#onConfigured = resolve;
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  async #restore(): Promise<void> {
    try {
      await this.attacher.restore();
    } catch (error) {
      this.#options.logger.warn({ error: describeError(error) }, 'cannot restore what pods had');
    }
  }

  async #sweep(): Promise<void> {
    try {
      await this.attacher.sweep();
      this.reclaim();
      this.repair();
    } catch (error) {
      this.#options.logger.warn({ error: describeError(error) }, 'cannot clear up after vanished pods');
    }
  }

  #enslave(bridge: Link, links: ReadonlyMap<string, Link>, wanted: ReadonlyMap<string, boolean>): void {
    const { kernels, logger } = this.#options;
    for (const [name, hairpin] of wanted) {
      const veth = links.get(name);
      if (veth === undefined || veth.master === bridge.index) continue;
      kernels.node.changeLink(veth.index, { master: bridge.index, up: true });
      kernels.node.changeBridgePort(veth.index, { hairpin });
      logger.warn({ interface: name }, 'pod connected to the bridge again');
    }
  }

  /** Whether it has addresses that are not of this node's range. */
  #isForeign({ addresses }: AttachmentRecord): boolean {
    const podCidrs = this.#wish?.podCidrs ?? [];
    return !addresses.every(({ ip }) => podCidrs.some((cidr) => cidr.contains(ip)));
  }

  #opened(): { readonly attacher: Attacher; readonly folder: AttachmentFolder } {
    if (this.#attacher !== undefined) return this.#attacher;
    const { kernels, logger, dataDir, networkName: network, features = [] } = this.#options;
    const path = join(dirname(dataDir), 'flatnet', network);
    const folder = AttachmentFolder.open(path, logger);
    const attacher = new Attacher({
      kernels,
      addresses: this.#pools,
      attachments: folder,
      features: [...features, new Aliases(`${path}.hosts`)],
      network,
      logger,
      onRemoved: (record) => {
        // Its gateway or its route may be nobody's any more.
        if (this.#running !== undefined && this.#isForeign(record)) this.#repairSoon(this.#running);
      },
    });
    this.#attacher = { attacher, folder };
    return this.#attacher;
  }
}
