import { FlatnetError } from '../../errors/flatnet-error.ts';

/**
 * A lab's name becomes part of names of namespaces and folders. Node names hold no dot, so `flatnet-LAB.NODE`
 * belongs to exactly one lab, whatever the labs are called.
 */
export function checkLabName(name: string): string {
  if (!/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/.test(name)) {
    throw new FlatnetError(`"${name}" is not a name for a lab`, {
      code: 'INVALID_LAB_NAME',
      hint: 'use up to 32 lower-case letters, digits and dashes, such as lab or lab-2',
    });
  }
  return name;
}

/** Named network namespace of the lab's fabric: the router and the bridges of the underlay. */
export function fabricNetns(lab: string): string {
  return `flatnet-${lab}`;
}

/** Named network namespace of a node, or of the client outside of the cluster (`outside`). */
export function nodeNetns(lab: string, node: string): string {
  return `flatnet-${lab}.${node}`;
}

/** Whether a namespace of this name is part of the lab. */
export function isNetnsOf(lab: string, netns: string): boolean {
  return netns === fabricNetns(lab) || netns.startsWith(`flatnet-${lab}.`);
}

/** The client outside of the cluster, reached like a node by `lab exec`. */
export const OUTSIDE = 'outside';
