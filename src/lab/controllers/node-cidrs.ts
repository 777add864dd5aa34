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
  /** Kept while a write is tried again, so that a node's part does not wander with every conflict. */
  const reserved = new Map<string, readonly Cidr[]>();
  const queue = context.queue('node-cidrs', async (name) => {
    const node = views.nodes.get(name);
    if (node === undefined || cidrsOf(node).length > 0) return;
    const taken = reserved.get(name) ?? takeAll(pools);
    if (typeof taken === 'string') {
      without.add(name);
      const message = `Node ${name} status is now: CIDRNotAvailable: ${taken}`;
      recorder.record(node, 'Warning', 'CIDRNotAvailable', message);
      return;
    }
    without.delete(name);
    reserved.set(name, taken);
    const podCIDRs = taken.map(String);
    const body = { spec: { podCIDR: podCIDRs[0], podCIDRs } };
    try {
      views.nodes.written(await client.patch(NODES, refOf(node), { type: 'merge', body }, { signal }));
      reserved.delete(name);
    } catch (error) {
      // Deleted meanwhile: the view's deletion gives the part back.
      if (!hasStatus(error, 404)) throw error;
    }
  });

  if (pools.length === 0) return;
  views.nodes.onChange((now, before) => {
    if (now !== undefined) {
      // What a node has already is adopted, after a restart of the controllers above all.
      for (const cidr of cidrsOf(now)) for (const pool of pools) pool.occupy(cidr);
      if (before === undefined && cidrsOf(now).length === 0) queue.add(now.metadata?.name ?? '');
      return;
    }
    const name = before?.metadata?.name ?? '';
    without.delete(name);
    const freed = [...cidrsOf(before ?? {}), ...(reserved.get(name) ?? [])];
    reserved.delete(name);
    for (const cidr of freed) for (const pool of pools) pool.release(cidr);
    for (const waiting of without) queue.add(waiting);
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
