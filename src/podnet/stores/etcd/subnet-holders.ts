import type { IpFamily } from '../../../net/ip.ts';
import { parseSubnetName } from './subnet-key.ts';

/**
 * Which leases name a subnet. flanneld claims the name of a lease as a whole: with two families, two of its leases, or
 * one of its and one of ours, may have a subnet of one family in common.
 */
export class SubnetHolders {
  readonly #folder: string;
  /** Keys by subnet. */
  readonly #holders = new Map<string, Set<string>>();

  /** `folder`: what keys of leases begin with. */
  constructor(folder: string) {
    this.#folder = folder;
  }

  add(key: string): void {
    for (const subnet of this.#subnetsOf(key).values()) {
      const keys = this.#holders.get(subnet);
      if (keys === undefined) this.#holders.set(subnet, new Set([key]));
      else keys.add(key);
    }
  }

  delete(key: string): void {
    for (const subnet of this.#subnetsOf(key).values()) {
      const keys = this.#holders.get(subnet);
      keys?.delete(key);
      if (keys?.size === 0) this.#holders.delete(subnet);
    }
  }

  /** The other leases that name a subnet which this one names, by its family. */
  othersOf(key: string): Map<IpFamily, readonly string[]> {
    const found = new Map<IpFamily, readonly string[]>();
    for (const [family, subnet] of this.#subnetsOf(key)) {
      const others = [...(this.#holders.get(subnet) ?? [])].filter((other) => other !== key);
      if (others.length > 0) found.set(family, others);
    }
    return found;
  }

  #subnetsOf(key: string): Map<IpFamily, string> {
    const subnets = parseSubnetName(key.slice(this.#folder.length)) ?? new Map<IpFamily, never>();
    return new Map([...subnets].map(([family, subnet]) => [family, String(subnet)]));
  }
}
