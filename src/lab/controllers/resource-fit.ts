import type { Container, Node, Pod, PodSpec } from 'kubernetes-types/core/v1.js';
import { parseQuantity } from '../quantity/quantity.ts';

type Amounts = ReadonlyMap<string, number>;

/** The resources that a pod asks for and a node has not left, in kube-scheduler's words. */
export function missingResources(spec: PodSpec, node: Node, running: readonly Pod[]): string[] {
  const wanted = podRequests(spec);
  if (wanted.size === 0) return [];
  const taken = new Map<string, number>();
  for (const pod of running) add(taken, podRequests(pod.spec ?? { containers: [] }));
  const allocatable = node.status?.allocatable ?? {};
  return [...wanted]
    .filter(([name, amount]) => {
      // Nodes that say nothing of cpu or memory bound neither; of anything else they have none.
      const room = parseQuantity(allocatable[name]) ?? (name === 'cpu' || name === 'memory' ? Infinity : 0);
      return amount > 0 && (taken.get(name) ?? 0) + amount > room;
    })
    .map(([name]) => `Insufficient ${name}`);
}

/**
 * What a pod asks for: its containers and sidecars together, or, where that is more, an init container together
 * with the sidecars that were started before it; plus its overhead.
 */
export function podRequests(spec: PodSpec): Amounts {
  const sidecars = new Map<string, number>();
  const peak = new Map<string, number>();
  for (const container of spec.initContainers ?? []) {
    const own = requests(container);
    if (container.restartPolicy === 'Always') add(sidecars, own);
    const together = new Map(sidecars);
    if (container.restartPolicy !== 'Always') add(together, own);
    raise(peak, together);
  }
  const total = new Map(sidecars);
  for (const container of spec.containers) add(total, requests(container));
  raise(total, peak);
  add(total, amounts(spec.overhead));
  return total;
}

function requests(container: Container): Amounts {
  return amounts({ ...container.resources?.limits, ...container.resources?.requests });
}

function amounts(list: Readonly<Record<string, string>> | undefined): Amounts {
  return new Map(Object.entries(list ?? {}).map(([name, value]) => [name, parseQuantity(value) ?? 0]));
}

function add(to: Map<string, number>, more: Amounts): void {
  for (const [name, amount] of more) to.set(name, (to.get(name) ?? 0) + amount);
}

function raise(to: Map<string, number>, floor: Amounts): void {
  for (const [name, amount] of floor) to.set(name, Math.max(to.get(name) ?? 0, amount));
}
