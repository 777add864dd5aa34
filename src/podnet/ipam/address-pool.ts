import { FlatnetError } from '../../errors/flatnet-error.ts';
import { type Cidr } from '../../net/cidr.ts';
import { type Ip } from '../../net/ip.ts';
import { AddressRangeSet } from './address-range-set.ts';
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

/** Which addresses an owner is to have. */
export interface ReservationWish {
  /** One address of each; the node's pod CIDRs when absent. */
  readonly sets?: readonly AddressRangeSet[] | undefined;
  /** Addresses that must be among them, at most one of each set. */
  readonly requested?: readonly Ip[];
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
  readonly #podCidrs: readonly Cidr[];
  readonly #sets: readonly AddressRangeSet[];
  readonly #byIp = new Map<string, Reservation>();
  readonly #byOwner = new Map<string, Reservation[]>();
  /** By index of the set. */
  readonly #last = new Map<number, Ip | undefined>();

  private constructor(folder: ReservationFolder, podCidrs: readonly Cidr[]) {
    this.#folder = folder;
    this.#podCidrs = podCidrs;
    this.#sets = podCidrs.map((cidr) => new AddressRangeSet([new AddressRange(cidr)]));
    for (const { ip, owner } of folder.list()) this.#learn({ ip, ...(owner ?? NOBODY) });
  }

  /**
   * `podCidrs`: at most one of each family, in the order of the node's spec.podCIDRs; none for a folder whose ranges
   * come with each reservation. Throws IPAM_IO, POD_CIDR_TOO_SMALL.
   */
  static open(folderPath: string, podCidrs: readonly Cidr[] = []): AddressPool {
    return new AddressPool(ReservationFolder.open(folderPath), podCidrs);
  }

  get path(): string {
    return this.#folder.path;
  }

  get podCidrs(): readonly Cidr[] {
    return this.#podCidrs;
  }

  get size(): number {
    return this.#byIp.size;
  }

  /** How many pods the smallest pod CIDR has room for. */
  get capacity(): bigint {
    const [first = 0n, ...rest] = this.#sets.map((set) => set.capacity);
    return rest.reduce((a, b) => (a < b ? a : b), first);
  }

  reservations(): Reservation[] {
    return [...this.#byIp.values()];
  }

  /**
   * Reserves one address of each set, all or none. Throws DUPLICATE_ADD when the owner holds one already,
   * POD_CIDR_EXHAUSTED and ADDRESS_IN_USE (retryable), ADDRESS_NOT_IN_RANGE, IPAM_IO.
   */
  reserve(owner: Owner, wish: ReservationWish = {}): AssignedAddress[] {
    const sets = wish.sets ?? this.#sets;
    const held = this.#byOwner.get(ownerKey(owner))?.find(({ ip }) => sets.some((set) => set.rangeOf(ip)));
    if (held !== undefined) {
      throw new FlatnetError(
        `container ${owner.containerId} already has ${held.ip.toString()} for ${owner.ifName}: a second ADD is not allowed`,
        { code: 'DUPLICATE_ADD', hint: 'call DEL for it first' },
      );
    }
    const requested = requestedOf(sets, wish.requested ?? []);
    const taken: AssignedAddress[] = [];
    try {
      for (const [index, set] of sets.entries()) {
        const ip = requested.get(set);
        taken.push(
          ip === undefined ? this.#reserveFrom(index, set, owner) : this.#reserveExactly(ip, set, owner),
        );
      }
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

  /** What the owner holds by the folder's own word, in the order of the sets. Throws IPAM_IO. */
  find(owner: Owner, sets: readonly AddressRangeSet[] = this.#sets): AssignedAddress[] {
    const held = this.#byOwner.get(ownerKey(owner)) ?? [];
    return sets.flatMap((set) =>
      held.flatMap(({ ip }) => {
        const range = set.rangeOf(ip);
        return range === undefined || !this.#isOnDisk(ip, owner) ? [] : [assigned(range, ip)];
      }),
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

  #reserveFrom(index: number, set: AddressRangeSet, owner: Owner): AssignedAddress {
    let candidate = set.after(this.#lastOf(index));
    // At most every known reservation stands in the way, and those that other processes made meanwhile.
    for (let tries = 0n; candidate !== undefined && tries < set.capacity; tries += 1n) {
      if (this.#take(candidate.ip, owner)) {
        this.#moveOn(index, candidate.ip);
        return assigned(candidate.range, candidate.ip);
      }
      candidate = set.after(candidate.ip);
    }
    throw new FlatnetError(
      `no address is free in pod CIDR ${set.toString()}: all ${set.capacity} are reserved in ${this.#folder.path}`,
      {
        code: 'POD_CIDR_EXHAUSTED',
        retryable: true,
        hint: 'remove pods from the node, or give nodes a larger pod CIDR (node-cidr-mask-size); addresses of pods that are gone are reclaimed by themselves',
      },
    );
  }

  #reserveExactly(ip: Ip, set: AddressRangeSet, owner: Owner): AssignedAddress {
    const range = set.rangeOf(ip);
    if (range !== undefined && this.#take(ip, owner)) return assigned(range, ip);
    const holder = this.#byIp.get(ip.toString())?.containerId ?? '';
    throw new FlatnetError(
      `the address ${ip.toString()} that was asked for is held by container ${holder === '' ? 'unknown' : holder}`,
      { code: 'ADDRESS_IN_USE', retryable: true, hint: 'it is free when that container is gone' },
    );
  }

  /** False when somebody holds it. */
  #take(ip: Ip, owner: Owner): boolean {
    if (this.#byIp.has(ip.toString())) return false;
    if (this.#folder.reserve(ip, owner)) {
      this.#learn({ ip, ...owner });
      return true;
    }
    this.#learn({ ip, ...(this.#folder.ownerOf(ip) ?? NOBODY) });
    return false;
  }

  #lastOf(index: number): Ip | undefined {
    if (!this.#last.has(index)) this.#last.set(index, this.#folder.lastReserved(index));
    return this.#last.get(index);
  }

  #moveOn(index: number, ip: Ip): void {
    this.#last.set(index, ip);
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
}

const assigned = (range: AddressRange, ip: Ip): AssignedAddress => ({
  ip,
  prefixLength: range.cidr.prefixLength,
  gateway: range.gateway,
});

/** Throws ADDRESS_NOT_IN_RANGE for what no set can give, or one set should give twice. */
function requestedOf(sets: readonly AddressRangeSet[], requested: readonly Ip[]): Map<AddressRangeSet, Ip> {
  const found = new Map<AddressRangeSet, Ip>();
  for (const ip of requested) {
    const set = sets.find((each) => !found.has(each) && each.rangeOf(ip) !== undefined);
    if (set === undefined) {
      throw new FlatnetError(
        `the address ${ip.toString()} that was asked for cannot be given from ${sets.join(' and ')}`,
        {
          code: 'ADDRESS_NOT_IN_RANGE',
          hint: 'ask for one address of each range at most, and not for its gateway',
        },
      );
    }
    found.set(set, ip);
  }
  return found;
}
