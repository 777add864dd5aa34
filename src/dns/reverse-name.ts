import type { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';

/** The address that a name of in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5) is for. */
export function addressOfReverseName(labels: readonly string[]): Ip | undefined {
  if (labels.at(-1) !== 'arpa') return undefined;
  const parts = labels.slice(0, -2).reverse();
  if (labels.at(-2) === 'in-addr' && parts.length === 4) return Ip.tryParse(parts.join('.'));
  if (labels.at(-2) === 'ip6' && parts.length === 32 && parts.every((part) => /^[\da-f]$/.test(part))) {
    return Ip.fromValue(6, BigInt(`0x${parts.join('')}`));
  }
  return undefined;
}

/** The reverse zone that holds a network: cut at the octet (IPv4) or nibble (IPv6) above its length. */
export function reverseZoneOf(network: Cidr): string {
  const bytes = network.first.toBytes();
  if (network.family === 4) {
    const octets = [...bytes.subarray(0, Math.floor(network.prefixLength / 8))];
    return [...octets.reverse().map(String), 'in-addr.arpa'].join('.');
  }
  const nibbles = Buffer.from(bytes)
    .toString('hex')
    .slice(0, Math.floor(network.prefixLength / 4));
  return [...nibbles.split('').reverse(), 'ip6.arpa'].join('.');
}
