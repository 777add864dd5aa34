import { isIPv4, isIPv6 } from 'node:net';
import { FlatnetError } from '../errors/flatnet-error.ts';

export type IpFamily = 4 | 6;

const V4_MAPPED_PREFIX = 0xffff00000000n;

/** An IPv4 or IPv6 address without zone. Immutable; compare with `equals` or by `toString`. */
export class Ip {
  readonly family: IpFamily;
  /** The address as an unsigned integer of 32 or 128 bits. */
  readonly value: bigint;

  private constructor(family: IpFamily, value: bigint) {
    this.family = family;
    this.value = value;
  }

  /** Parses dotted-quad or RFC 4291 section 2.2 text. Throws INVALID_IP; leading zeros in IPv4 are refused. */
  static parse(text: string): Ip {
    const ip = Ip.tryParse(text);
    if (ip === undefined) {
      throw new FlatnetError(`"${text}" is not an IP address`, {
        code: 'INVALID_IP',
        hint: 'write it like 10.244.1.7 or fd00::7',
      });
    }
    return ip;
  }

  static tryParse(text: string): Ip | undefined {
    if (isIPv4(text)) return new Ip(4, parseV4(text));
    if (isIPv6(text) && !text.includes('%')) return new Ip(6, parseV6(text));
    return undefined;
  }

  /** From 4 or 16 bytes in network order. */
  static fromBytes(bytes: Uint8Array): Ip {
    if (bytes.length !== 4 && bytes.length !== 16) {
      throw new FlatnetError(`an IP address has 4 or 16 bytes, not ${bytes.length}`, { code: 'INVALID_IP' });
    }
    let value = 0n;
    for (const byte of bytes) value = (value << 8n) | BigInt(byte);
    return new Ip(bytes.length === 4 ? 4 : 6, value);
  }

  static fromValue(family: IpFamily, value: bigint): Ip {
    const bits = family === 4 ? 32n : 128n;
    if (value < 0n || value >> bits !== 0n) {
      throw new FlatnetError(`${value} is outside the IPv${family} address space`, { code: 'INVALID_IP' });
    }
    return new Ip(family, value);
  }

  /** 4 or 16 bytes in network order. */
  toBytes(): Uint8Array {
    const bytes = new Uint8Array(this.family === 4 ? 4 : 16);
    let rest = this.value;
    for (let i = bytes.length - 1; i >= 0; i -= 1) {
      bytes[i] = Number(rest & 0xffn);
      rest >>= 8n;
    }
    return bytes;
  }

  /** The address `offset` further on; throws INVALID_IP past either end of the address space. */
  plus(offset: bigint | number): Ip {
    return Ip.fromValue(this.family, this.value + BigInt(offset));
  }

  equals(other: Ip): boolean {
    return this.family === other.family && this.value === other.value;
  }

  /** Canonical text; IPv6 as RFC 5952 section 4 prescribes. */
  toString(): string {
    return this.family === 4 ? formatV4(this.value) : formatV6(this.value);
  }

  toJSON(): string {
    return this.toString();
  }
}

function parseV4(text: string): bigint {
  let value = 0;
  for (const octet of text.split('.')) value = value * 256 + Number(octet);
  return BigInt(value);
}

function formatV4(value: bigint): string {
  const v = Number(value);
  return `${v >>> 24}.${(v >>> 16) & 255}.${(v >>> 8) & 255}.${v & 255}`;
}

function parseV6(text: string): bigint {
  let hexText = text;
  const lastColon = text.lastIndexOf(':');
  if (text.includes('.')) {
    const v4 = Number(parseV4(text.slice(lastColon + 1)));
    hexText = `${text.slice(0, lastColon + 1)}${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`;
  }
  const [head = '', tail] = hexText.split('::');
  const headGroups = head === '' ? [] : head.split(':');
  const tailGroups = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: 8 - headGroups.length - tailGroups.length }, () => '0');
  const groups = tail === undefined ? headGroups : [...headGroups, ...zeros, ...tailGroups];
  let value = 0n;
  for (const group of groups) value = (value << 16n) | BigInt(Number.parseInt(group, 16));
  return value;
}

function formatV6(value: bigint): string {
  if (value >> 32n === V4_MAPPED_PREFIX >> 32n) return `::ffff:${formatV4(value & 0xffffffffn)}`;
  const groups = Array.from({ length: 8 }, (_, i) =>
    Number((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  const run = longestZeroRun(groups);
  if (run === undefined) return groups.join(':');
  return `${groups.slice(0, run.start).join(':')}::${groups.slice(run.start + run.length).join(':')}`;
}

function longestZeroRun(groups: readonly string[]): { start: number; length: number } | undefined {
  let best: { start: number; length: number } | undefined;
  for (let start = 0; start < groups.length; start += 1) {
    let length = 0;
    while (groups[start + length] === '0') length += 1;
    if (length >= 2 && length > (best?.length ?? 0)) best = { start, length };
    start += length;
  }
  return best;
}
