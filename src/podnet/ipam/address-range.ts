import { FlatnetError } from '../../errors/flatnet-error.ts';
import { type Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';

/** host-local's options of one range, beside its subnet. */
export interface AddressRangeOptions {
  readonly rangeStart?: Ip | undefined;
  /** Inclusive, as is the start. */
  readonly rangeEnd?: Ip | undefined;
  readonly gateway?: Ip | undefined;
}

/**
 * What may be handed out of one subnet. As host-local has it: the gateway is the first address after the network's,
 * addresses run from there to the last but one (IPv4, whose last is the broadcast address) or the last (IPv6), and the
 * gateway itself is passed over.
 */
export class AddressRange {
  readonly cidr: Cidr;
  readonly gateway: Ip;
  readonly #start: bigint;
  readonly #end: bigint;

  /** Throws POD_CIDR_TOO_SMALL when there is no room for a gateway and one pod, INVALID_RANGE naming the option. */
  constructor(cidr: Cidr, options: AddressRangeOptions = {}) {
    const spare = cidr.family === 4 ? 4n : 3n;
    if (cidr.size < spare) {
      throw new FlatnetError(`pod CIDR ${cidr.toString()} has no room for a gateway and a pod`, {
        code: 'POD_CIDR_TOO_SMALL',
        hint: 'give the node a /30 (IPv4) or /126 (IPv6) at least; a /24 or /64 is usual',
      });
    }
    for (const option of ['rangeStart', 'rangeEnd', 'gateway'] as const) {
      const ip = options[option];
      // A gateway may be outside: routers are found on the link in other ways too.
      if (ip !== undefined && option !== 'gateway' && !cidr.contains(ip)) {
        throw invalid(`${option} ${ip.toString()} is not in subnet ${cidr.toString()}`);
      }
    }
    this.cidr = cidr;
    this.gateway = options.gateway ?? cidr.at(1);
    this.#start = (options.rangeStart ?? cidr.at(1)).value;
    this.#end = options.rangeEnd?.value ?? cidr.last.value - (cidr.family === 4 ? 1n : 0n);
    if (this.#start > this.#end) {
      throw invalid(
        `rangeStart ${this.first.toString()} is behind rangeEnd ${this.last.toString()} in subnet ${cidr.toString()}`,
      );
    }
  }

  get first(): Ip {
    return Ip.fromValue(this.cidr.family, this.#start);
  }

  get last(): Ip {
    return Ip.fromValue(this.cidr.family, this.#end);
  }

  /** How many pods it has room for. */
  get capacity(): bigint {
    const size = this.#end - this.#start + 1n;
    return this.#spans(this.gateway) ? size - 1n : size;
  }

  /** Whether the address may be handed out. */
  contains(ip: Ip): boolean {
    return this.#spans(ip) && !ip.equals(this.gateway);
  }

  overlaps(other: AddressRange): boolean {
    return other.cidr.family === this.cidr.family && this.#start <= other.#end && other.#start <= this.#end;
  }

  /** The next address that may be handed out behind `ip`; without `ip` the first one. Undefined past the end. */
  next(ip?: Ip): Ip | undefined {
    const value = ip === undefined ? this.#start : ip.value + 1n;
    const candidate = value > this.#end ? undefined : Ip.fromValue(this.cidr.family, value);
    return candidate?.equals(this.gateway) === true ? this.next(candidate) : candidate;
  }

  toString(): string {
    const whole = new AddressRange(this.cidr);
    const bounded = whole.#start !== this.#start || whole.#end !== this.#end;
    return bounded
      ? `${this.first.toString()} to ${this.last.toString()} of ${this.cidr.toString()}`
      : this.cidr.toString();
  }

  #spans(ip: Ip): boolean {
    return ip.family === this.cidr.family && ip.value >= this.#start && ip.value <= this.#end;
  }
}

const invalid = (message: string): FlatnetError =>
  new FlatnetError(message, {
    code: 'INVALID_RANGE',
    hint: 'correct ipam.ranges of the network configuration',
  });
