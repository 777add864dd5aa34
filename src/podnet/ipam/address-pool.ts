import { FlatnetError } from '../../errors/flatnet-error.ts';
import { type Cidr } from '../../net/cidr.ts';
import { type Ip } from '../../net/ip.ts';
import { AddressRange } from './address-range.ts';
import { ReservationFolder } from './reservation-folder.ts';
import { ownerKey, type Owner, type Reservation } from './reservation.ts';

/** An address given to a pod, with what its interface needs to use it. */
export interface AssignedAddress {
  readonly ip: Ip;
  /** Prefix length of the pod CIDR it is from. */
  readonly prefixLength: number;
  readonly gateway: Ip;
}

/** A file without owner is held by this one, until it is reclaimed. */
const NOBODY: Owner = { containerId: '', ifName: '' };

/**
 * The node's IPAM: one address of every pod CIDR for each (container, interface), kept in host-local's folder. The
 * folder is read once, at `open`; afterwards an index in memory answers, so that a reservation costs the same however
 * many there are. What other processes put into the folder meanwhile is met (and learned) when its name is taken.
 */
export class AddressPool {
  readonly #folder: ReservationFolder;
  readonly #ranges: readonly AddressRange[];
  readonly #byIp = new Map<string, Reservation>();
  readonly #byOwner = new Map<string, Reservation[]>();
  readonly #last: (Ip | undefined)[];

  private constructor(folder: ReservationFolder, ranges: readonly AddressRange[]) {
    this.#folder = folder;
    this.#ranges = ranges;
    this.#last = ranges.map((_, index) => folder.lastReserved(index));
    for (const { ip, owner } of folder.list()) this.#learn({ ip, ...(owner ?? NOBODY) });
  }

  /** `podCidrs`: at most one of each family, in the order of the node's spec.podCIDRs. Throws IPAM_IO, POD_CIDR_TOO_SMALL. */
  static open(folderPath: string, podCidrs: readonly Cidr[]): AddressPool {
    return new AddressPool(
      ReservationFolder.open(folderPath),
      podCidrs.map((cidr) => new AddressRange(cidr)),
    );
  }

  get podCidrs(): readonly Cidr[] {
    return this.#ranges.map((range) => range.cidr);
  }

  get size(): number {
    return this.#byIp.size;
  }

  /** How many pods the smallest range has room for. */
  get capacity(): bigint {
    return this.#ranges.map((range) => range.capacity).reduce((a, b) => (a < b ? a : b));
  }

  reservations(): Reservation[] {
    return [...this.#byIp.values()];
  }

  /**
   * Reserves one address of each range, all or none. Throws DUPLICATE_ADD when the owner holds one already,
   * POD_CIDR_EXHAUSTED (retryable), IPAM_IO.
   */
  reserve(owner: Owner): AssignedAddress[] {
    const held = this.#byOwner.get(ownerKey(owner))?.find(({ ip }) => this.#rangeOf(ip) !== undefined);
    if (held !== undefined) {
      throw new FlatnetError(
        `container ${owner.containerId} already has ${held.ip.toString()} for ${owner.ifName}: a second ADD is not allowed`,
        { code: 'DUPLICATE_ADD', hint: 'call DEL for it first' },
      );
    }
    const taken: AssignedAddress[] = [];
    try {
      for (const [index, range] of this.#ranges.entries()) taken.push(this.#reserveFrom(index, range, owner));
      return taken;
    } catch (error) {
      for (const { ip } of taken) this.#free(ip);
      throw error;
    }
  }

  /** Frees what the owner holds and returns it; nothing held is no error. Throws IPAM_IO. */
  release(owner: Owner): Ip[] {
    // Files of host-local before 0.8 carry no interface name.
    const held = [
      ...(this.#byOwner.get(ownerKey(owner)) ?? []),
      ...(this.#byOwner.get(ownerKey({ containerId: owner.containerId, ifName: '' })) ?? []),
    ];
    for (const { ip } of held) this.#free(ip);
    return held.map(({ ip }) => ip);
  }

  /** What the owner holds by the folder's own word, in the order of the pod CIDRs. Throws IPAM_IO. */
  find(owner: Owner): AssignedAddress[] {
    const held = this.#byOwner.get(ownerKey(owner)) ?? [];
    return this.#ranges.flatMap((range) =>
      held
        .filter(({ ip }) => range.contains(ip) && this.#isOnDisk(ip, owner))
        .map(({ ip }) => assigned(range, ip)),
    );
  }

  /**
   * Frees reservations of containers that no longer exist: those older than `minAgeMs` for which `isAlive` says no.
   * The caller decides what proves life; a reservation that is only forgotten about is never freed here. One that
   * cannot be freed does not keep the others: IPAM_IO is thrown only when nothing could be.
   */
  reclaim(isAlive: (owner: Owner) => boolean, minAgeMs: number, now: number): Reservation[] {
    const freed: Reservation[] = [];
    let failed: unknown;
    for (const reservation of this.reservations()) {
      if (reservation.containerId !== '' && isAlive(reservation)) continue;
      const ageMs = this.#folder.ageMs(reservation.ip, now);
      if (ageMs !== undefined && ageMs < minAgeMs) continue;
      try {
        this.#free(reservation.ip);
        freed.push(reservation);
      } catch (error) {
        failed ??= error;
      }
    }
    if (failed !== undefined && freed.length === 0) throw failed;
    return freed;
  }

  #reserveFrom(index: number, range: AddressRange, owner: Owner): AssignedAddress {
    let candidate = range.after(this.#last[index]);
    // At most every known reservation stands in the way, and those that other processes made meanwhile.
    for (let tries = 0n; tries < range.capacity; tries += 1n) {
      if (!this.#byIp.has(candidate.toString())) {
        if (this.#folder.reserve(candidate, owner)) {
          this.#learn({ ip: candidate, ...owner });
          this.#moveOn(index, candidate);
          return assigned(range, candidate);
        }
        this.#learn({ ip: candidate, ...(this.#folder.ownerOf(candidate) ?? NOBODY) });
      }
      candidate = range.after(candidate);
    }
    throw new FlatnetError(
      `no address is free in pod CIDR ${range.cidr.toString()}: all ${range.capacity} are reserved in ${this.#folder.path}`,
      {
        code: 'POD_CIDR_EXHAUSTED',
        retryable: true,
        hint: 'remove pods from the node, or give nodes a larger pod CIDR (node-cidr-mask-size); addresses of pods that are gone are reclaimed by themselves',
      },
    );
  }

  #moveOn(index: number, ip: Ip): void {
    this.#last[index] = ip;
    try {
      this.#folder.writeLastReserved(index, ip);
    } catch (error) {
      this.#free(ip);
      throw error;
    }
  }

  #free(ip: Ip): void {
    this.#folder.release(ip);
    const reservation = this.#byIp.get(ip.toString());
    if (reservation === undefined) return;
    this.#byIp.delete(ip.toString());
    const key = ownerKey(reservation);
    const rest = (this.#byOwner.get(key) ?? []).filter((other) => !other.ip.equals(ip));
    if (rest.length === 0) this.#byOwner.delete(key);
    else this.#byOwner.set(key, rest);
  }

  #learn(reservation: Reservation): void {
    this.#byIp.set(reservation.ip.toString(), reservation);
    const key = ownerKey(reservation);
    this.#byOwner.set(key, [...(this.#byOwner.get(key) ?? []), reservation]);
  }

  #isOnDisk(ip: Ip, owner: Owner): boolean {
    const onDisk = this.#folder.ownerOf(ip);
    return onDisk !== undefined && ownerKey(onDisk) === ownerKey(owner);
  }

  #rangeOf(ip: Ip): AddressRange | undefined {
    return this.#ranges.find((range) => range.cidr.contains(ip));
  }
}

const assigned = (range: AddressRange, ip: Ip): AssignedAddress => ({
  ip,
  prefixLength: range.cidr.prefixLength,
  gateway: range.gateway,
});
