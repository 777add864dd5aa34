import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';

/** Addresses of one service range. The first and, in IPv4, the last are never given out. */
export class AddressPool {
  readonly cidr: Cidr;
  readonly #taken = new Set<bigint>();
  readonly #size: bigint;
  /** kube-apiserver leaves a band at the start for addresses that users choose. */
  readonly #band: bigint;
  #next: bigint;

  constructor(cidr: Cidr) {
    this.cidr = cidr;
    const last = cidr.family === 4 ? 1n : 0n;
    // Larger IPv6 ranges are used as far as 2^20 addresses, which no cluster runs out of.
    const usable = cidr.size - 1n - last;
    this.#size = usable > 1_048_576n ? 1_048_576n : usable;
    this.#band = staticBand(this.#size);
    this.#next = this.#band;
  }

  /** True when the address was free and is now taken. */
  take(ip: Ip): boolean {
    const offset = this.#offset(ip);
    if (offset === undefined || this.#taken.has(offset)) return false;
    this.#taken.add(offset);
    return true;
  }

  /** Whether the address can be given out at all. */
  holds(ip: Ip): boolean {
    return this.#offset(ip) !== undefined;
  }

  /** Any free address, outside the band while there is one; undefined when all are taken. */
  takeAny(): Ip | undefined {
    if (BigInt(this.#taken.size) >= this.#size) return undefined;
    for (let tried = 0n; tried < this.#size; tried += 1n) {
      const offset = this.#next;
      this.#next = this.#next + 1n >= this.#size ? 0n : this.#next + 1n;
      if (this.#taken.has(offset)) continue;
      this.#taken.add(offset);
      return this.cidr.at(offset + 1n);
    }
    return undefined;
  }

  release(ip: Ip): void {
    const offset = this.#offset(ip);
    if (offset !== undefined) this.#taken.delete(offset);
  }

  #offset(ip: Ip): bigint | undefined {
    if (!this.cidr.contains(ip)) return undefined;
    const offset = ip.value - this.cidr.first.value - 1n;
    return offset >= 0n && offset < this.#size ? offset : undefined;
  }
}

/** min(max(16, size/16), 256), and none in ranges smaller than that (KEP-3070). */
function staticBand(size: bigint): bigint {
  if (size <= 16n) return 0n;
  const sixteenth = size / 16n;
  if (sixteenth < 16n) return 16n;
  return sixteenth > 256n ? 256n : sixteenth;
}
