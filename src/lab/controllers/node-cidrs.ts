import type { Node } from 'kubernetes-types/core/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { refOf } from '../../cluster/kube-object.ts';
import { NODES } from '../../cluster/resource-type.ts';
import { Cidr } from '../../net/cidr.ts';
import { CidrPool } from './cidr-pool.ts';
import type { ControllerContext } from './context.ts';

export interface NodeCidrRange {
  readonly range: Cidr;
  /** Prefix length of a node's part. */
  readonly nodePrefixLength: number;
}

/** Gives every node its part of each pod range. A node that finds none left is told so; the others go on. */
export function startNodeCidrs(context: ControllerContext, ranges: readonly NodeCidrRange[]): void {
  const { views, client, signal } = context;
  const recorder = context.recorder('cidrAllocator');
  const pools = ranges.map(({ range, nodePrefixLength }) => new CidrPool(range, nodePrefixLength));
  const without = new Set<string>();
  const queue = context.queue('node-cidrs', async (name) => {
    const node = views.nodes.get(name);
    if (node === undefined || cidrsOf(node).length > 0) return;
    const taken = takeAll(pools);
    if (typeof taken === 'string') {
      without.add(name);
      recorder.record(
        node,
        'Warning',
        'CIDRNotAvailable',
        `Node ${name} status is now: CIDRNotAvailable: ${taken}`,
      );
      return;
    }
    without.delete(name);
    await assign(node, taken);
  });

  async function assign(node: Node, cidrs: readonly Cidr[]): Promise<void> {
    const podCIDRs = cidrs.map(String);
    // The version keeps two allocators from giving one node two ranges.
    const metadata = { resourceVersion: node.metadata?.resourceVersion };
    const body = { metadata, spec: { podCIDR: podCIDRs[0], podCIDRs } };
    try {
      views.nodes.written(await client.patch(NODES, refOf(node), { type: 'merge', body }, { signal }));
    } catch (error) {
      for (const [position, cidr] of cidrs.entries()) pools[position]?.release(cidr);
      if (hasStatus(error, 404)) return;
      throw error;
    }
  }

  if (pools.length === 0) return;
  views.nodes.onChange((now, before) => {
    if (now !== undefined) {
      // What a node has already is adopted, after a restart of the controllers above all.
      for (const cidr of cidrsOf(now)) for (const pool of pools) pool.occupy(cidr);
      if (before === undefined && cidrsOf(now).length === 0) queue.add(now.metadata?.name ?? '');
      return;
    }
    without.delete(before?.metadata?.name ?? '');
    for (const cidr of cidrsOf(before ?? {})) for (const pool of pools) pool.release(cidr);
    for (const name of without) queue.add(name);
  });
}

/** One part of every pool, or the range that has none left. */
function takeAll(pools: readonly CidrPool[]): Cidr[] | string {
  const taken: Cidr[] = [];
  for (const pool of pools) {
    const cidr = pool.take();
    if (cidr === undefined) {
      for (const [position, given] of taken.entries()) pools[position]?.release(given);
      return `the range ${pool.range.toString()} has no part left`;
    }
    taken.push(cidr);
  }
  return taken;
}

function cidrsOf(node: Node): Cidr[] {
  const { podCIDR, podCIDRs } = node.spec ?? {};
  const texts = podCIDRs ?? (podCIDR === undefined || podCIDR === '' ? [] : [podCIDR]);
  return texts.map((text) => Cidr.tryParse(text)).filter((cidr) => cidr !== undefined);
}
