import { FlatnetError } from '../errors/flatnet-error.ts';
import { Ip, type IpFamily } from './ip.ts';

/** A prefix: network address and length. `parse` clears host bits; `parseStrict` refuses them. */
export class Cidr {
  readonly ip: Ip;
  readonly prefixLength: number;

  constructor(ip: Ip, prefixLength: number) {
    const bits = ip.family === 4 ? 32 : 128;
    if (!Number.isInteger(prefixLength) || prefixLength < 0 || prefixLength > bits) {
      throw invalid(`${ip.toString()}/${prefixLength}`);
    }
    this.ip = Ip.fromValue(ip.family, ip.value & maskValue(bits, prefixLength));
    this.prefixLength = prefixLength;
  }

  /** Parses `10.244.0.0/16`; host bits are cleared. Throws INVALID_CIDR. */
  static parse(text: string): Cidr {
    const match = /^([^/]+)\/(\d{1,3})$/.exec(text);
    const ip = match?.[1] === undefined ? undefined : Ip.tryParse(match[1]);
    if (ip === undefined || match?.[2] === undefined) throw invalid(text);
    const prefixLength = Number(match[2]);
    if (prefixLength > (ip.family === 4 ? 32 : 128)) throw invalid(text);
    return new Cidr(ip, prefixLength);
  }

  /** As `parse`, and throws INVALID_CIDR where host bits are set. */
  static parseStrict(text: string): Cidr {
    const cidr = Cidr.parse(text);
    if (!cidr.ip.equals(Ip.parse(text.slice(0, text.indexOf('/'))))) {
      throw new FlatnetError(`"${text}" has bits set behind its prefix`, {
        code: 'INVALID_CIDR',
        hint: `did you mean ${cidr.toString()}?`,
      });
    }
    return cidr;
  }

  static tryParse(text: string): Cidr | undefined {
    try {
      return Cidr.parse(text);
    } catch {
      return undefined;
    }
  }

  get family(): IpFamily {
    return this.ip.family;
  }

  /** Number of addresses, the network's and broadcast address included. */
  get size(): bigint {
    return 1n << BigInt((this.family === 4 ? 32 : 128) - this.prefixLength);
  }

  get first(): Ip {
    return this.ip;
  }

  get last(): Ip {
    return Ip.fromValue(this.family, this.ip.value + this.size - 1n);
  }

  /** The address at `index`; throws INVALID_IP when the prefix is smaller. */
  at(index: bigint | number): Ip {
    const ip = this.ip.plus(index);
    if (!this.contains(ip)) {
      throw new FlatnetError(`${this.toString()} has no address number ${index}`, { code: 'INVALID_IP' });
    }
    return ip;
  }

  contains(other: Ip | Cidr): boolean {
    if (other.family !== this.family) return false;
    if (other instanceof Cidr && other.prefixLength < this.prefixLength) return false;
    const value = other instanceof Cidr ? other.ip.value : other.value;
    return value >= this.ip.value && value < this.ip.value + this.size;
  }

  overlaps(other: Cidr): boolean {
    return this.contains(other) || other.contains(this);
  }

  equals(other: Cidr): boolean {
    return this.prefixLength === other.prefixLength && this.ip.equals(other.ip);
  }

  toString(): string {
    return `${this.ip.toString()}/${this.prefixLength}`;
  }

  toJSON(): string {
    return this.toString();
  }
}

function maskValue(bits: number, prefixLength: number): bigint {
  return ((1n << BigInt(prefixLength)) - 1n) << BigInt(bits - prefixLength);
}

function invalid(text: string): FlatnetError {
  return new FlatnetError(`"${text}" is not a network in CIDR notation`, {
    code: 'INVALID_CIDR',
    hint: 'write it like 10.244.0.0/16 or fd00:10:244::/56',
  });
}
