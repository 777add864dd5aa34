import { FlatnetError } from '../../errors/flatnet-error.ts';
import { type Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';

/**
 * What may be handed out of one pod CIDR. As host-local has it: the gateway is the first address after the network's,
 * addresses run from the gateway's to the last but one (IPv4, whose last is the broadcast address) or the last (IPv6).
 */
export class AddressRange {
  readonly cidr: Cidr;
  readonly gateway: Ip;
  readonly #end: bigint;

  /** Throws POD_CIDR_TOO_SMALL when there is no room for a gateway and one pod. */
  constructor(cidr: Cidr) {
    const spare = cidr.family === 4 ? 4n : 3n;
    if (cidr.size < spare) {
      throw new FlatnetError(`pod CIDR ${cidr.toString()} has no room for a gateway and a pod`, {
        code: 'POD_CIDR_TOO_SMALL',
        hint: 'give the node a /30 (IPv4) or /126 (IPv6) at least; a /24 or /64 is usual',
      });
    }
    this.cidr = cidr;
    this.gateway = cidr.at(1);
    this.#end = cidr.last.value - (cidr.family === 4 ? 1n : 0n);
  }

  /** How many pods it has room for. */
  get capacity(): bigint {
    return this.#end - this.gateway.value;
  }

  contains(ip: Ip): boolean {
    return ip.family === this.cidr.family && ip.value > this.gateway.value && ip.value <= this.#end;
  }

  /** The address that follows `ip` in the round, past the end the first one; `undefined` starts the round. */
  after(ip: Ip | undefined): Ip {
    const next = ip === undefined || !this.contains(ip) ? this.gateway.value + 1n : ip.value + 1n;
    return Ip.fromValue(this.cidr.family, next > this.#end ? this.gateway.value + 1n : next);
  }
}
