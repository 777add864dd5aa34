import type { Cidr } from '../net/cidr.ts';

/** One node's range that meets another's without being the same. */
export interface Overlap {
  readonly node: string;
  readonly own: Cidr;
  readonly theirs: Cidr;
}

/**
 * The pod CIDRs of all nodes. Where all are of one size, as a controller manager assigns them, two that meet are the
 * same, and a look-up costs nothing; only where sizes differ are all gone through.
 */
export class PodCidrIndex {
  readonly #byNode = new Map<string, readonly Cidr[]>();
  /** Nodes by `family/prefixLength`. */
  readonly #sizes = new Map<string, number>();

  set(node: string, cidrs: readonly Cidr[]): void {
    this.delete(node);
    this.#byNode.set(node, cidrs);
    for (const cidr of cidrs) this.#count(cidr, 1);
  }

  delete(node: string): void {
    for (const cidr of this.#byNode.get(node) ?? []) this.#count(cidr, -1);
    this.#byNode.delete(node);
  }

  /** Unequal ranges of other nodes that the node's meet. */
  overlapsOf(node: string): Overlap[] {
    const found: Overlap[] = [];
    for (const own of this.#byNode.get(node) ?? []) {
      if (this.#sizesOf(own) < 2) continue;
      for (const [other, cidrs] of this.#byNode) {
        if (other === node) continue;
        const theirs = cidrs.find((cidr) => cidr.overlaps(own) && !cidr.equals(own));
        if (theirs !== undefined) found.push({ node: other, own, theirs });
      }
    }
    return found;
  }

  #sizesOf({ family }: Cidr): number {
    return [...this.#sizes.keys()].filter((size) => size.startsWith(`${family}/`)).length;
  }

  #count({ family, prefixLength }: Cidr, by: number): void {
    const size = `${family}/${prefixLength}`;
    const count = (this.#sizes.get(size) ?? 0) + by;
    if (count === 0) this.#sizes.delete(size);
    else this.#sizes.set(size, count);
  }
}
