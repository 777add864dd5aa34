import { type BridgeWish, ensureBridge } from '../cni/bridge.ts';
import type { PodAttachmentPoint } from '../cni/handler.ts';
import { hostVethName } from '../cni/host-veth.ts';
import { FlatnetError, describeError } from '../errors/flatnet-error.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Logger } from '../log/logger.ts';
import { AddressPool, type AssignedAddress } from '../podnet/ipam/address-pool.ts';
import type { Owner } from '../podnet/ipam/reservation.ts';

export interface PodAttachmentOptions {
  readonly kernel: RouteKernel;
  readonly logger: Logger;
  /** `/var/lib/cni/networks/<net>`. */
  readonly folder: string;
}

/** An ADD reserves first and connects a few milliseconds later: what is younger may only be on its way. */
const RECLAIM_MIN_AGE_MS = 60_000;

/** The node's bridge and its addresses for pods: what an ADD needs, kept in order. */
export class PodAttachment {
  readonly #options: PodAttachmentOptions;
  #pool: AddressPool | undefined;
  #bridge: BridgeWish | undefined;

  constructor(options: PodAttachmentOptions) {
    this.#options = options;
  }

  /** What an ADD works with; undefined before `configure`. */
  get point(): PodAttachmentPoint | undefined {
    if (this.#pool === undefined || this.#bridge === undefined) return undefined;
    const { name, mtu } = this.#bridge;
    return { addresses: this, bridge: name, mtu };
  }

  get reserved(): number {
    return this.#pool?.size ?? 0;
  }

  get capacity(): number {
    return Number(this.#pool?.capacity ?? 0n);
  }

  /** Brings bridge and address pool to the wish; pods that are connected stay so. Throws in the kernel's words, IPAM_IO. */
  configure(wish: BridgeWish): void {
    const same = String(this.#pool?.podCidrs) === String(wish.podCidrs);
    if (!same || this.#pool === undefined) this.#pool = AddressPool.open(this.#options.folder, wish.podCidrs);
    this.#bridge = wish;
    this.repair();
    this.reclaim();
  }

  /** Makes the bridge as it should be, and pods' interfaces its ports again, whoever took them away. */
  repair(): void {
    if (this.#bridge === undefined) return;
    const { kernel, logger } = this.#options;
    const bridge = ensureBridge(kernel, this.#bridge);
    const links = new Map(kernel.links().map((link) => [link.name, link]));
    for (const owner of this.#pool?.reservations() ?? []) {
      const veth = links.get(hostVethName(owner));
      if (veth === undefined || veth.master === bridge.index) continue;
      kernel.changeLink(veth.index, { master: bridge.index, up: true });
      kernel.changeBridgePort(veth.index, { hairpin: true });
      logger.warn(
        { container: owner.containerId, interface: veth.name },
        'pod connected to the bridge again',
      );
    }
  }

  reserve(owner: Owner): AssignedAddress[] {
    const pool = this.#opened();
    try {
      return pool.reserve(owner);
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'POD_CIDR_EXHAUSTED') throw error;
      if (this.reclaim() === 0) throw error;
      return pool.reserve(owner);
    }
  }

  release(owner: Owner): ReturnType<AddressPool['release']> {
    return this.#opened().release(owner);
  }

  find(owner: Owner): AssignedAddress[] {
    return this.#opened().find(owner);
  }

  /**
   * Frees addresses whose interface no longer exists: both ends of a veth die together, so without the node's end
   * there is nobody who could use the address. While the bridge has a port that no reservation explains (another
   * plugin made it, under a name of its own), nothing can be told apart and nothing is freed. Returns how many.
   */
  reclaim(): number {
    const { kernel, logger } = this.#options;
    if (this.#pool === undefined || this.#bridge === undefined) return 0;
    const links = kernel.links();
    const known = new Set(this.#pool.reservations().map(hostVethName));
    const bridge = links.find(({ name }) => name === this.#bridge?.name)?.index;
    const foreign = links.filter(({ master, name }) => master === bridge && !known.has(name));
    if (foreign.length > 0) {
      logger.debug(
        { ports: foreign.map(({ name }) => name) },
        'ports of unknown pods: no address is reclaimed',
      );
      return 0;
    }
    const present = new Set(links.map(({ name }) => name));
    try {
      const freed = this.#pool.reclaim(
        (owner) => present.has(hostVethName(owner)),
        RECLAIM_MIN_AGE_MS,
        Date.now(),
      );
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

  #opened(): AddressPool {
    if (this.#pool !== undefined) return this.#pool;
    throw new FlatnetError('no pod CIDR yet', { code: 'NOT_READY', retryable: true });
  }
}
