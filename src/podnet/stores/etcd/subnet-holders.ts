import type { IpFamily } from '../../../net/ip.ts';
import { parseSubnetName } from './subnet-key.ts';

/**
 * Which leases name a subnet. flanneld claims the name of a lease as a whole: with two families, two of its leases, or
 * one of its and one of ours, may have a subnet of one family in common.
 */
export class SubnetHolders {
  readonly #folder: string;
  /** Subnets by key and family. */
  readonly #subnets = new Map<string, readonly (readonly [IpFamily, string])[]>();
  /** Keys by subnet. */
  readonly #holders = new Map<string, Set<string>>();

  /** `folder`: what keys of leases begin with. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  add(key: string): void {
    if (this.#subnets.has(key)) return;
    const named = [...(parseSubnetName(key.slice(this.#folder.length)) ?? [])];
    const subnets = named.map(([family, subnet]) => [family, subnet.toString()] as const);
    this.#subnets.set(key, subnets);
    for (const [, subnet] of subnets) {
      const keys = this.#holders.get(subnet);
      if (keys === undefined) this.#holders.set(subnet, new Set([key]));
      else keys.add(key);
    }
  }

  delete(key: string): void {
    for (const [, subnet] of this.#subnets.get(key) ?? []) {
      const keys = this.#holders.get(subnet);
      keys?.delete(key);
      if (keys?.size === 0) this.#holders.delete(subnet);
    }
    this.#subnets.delete(key);
  }

  /** The other leases that name a subnet which this one names, by its family. */
  othersOf(key: string): Map<IpFamily, readonly string[]> {
    const found = new Map<IpFamily, readonly string[]>();
    for (const [family, subnet] of this.#subnets.get(key) ?? []) {
      const holders = this.#holders.get(subnet);
      if (holders !== undefined && holders.size > 1)
        found.set(
          family,
          [...holders].filter((other) => other !== key),
        );
    }
    return found;
  }
}
