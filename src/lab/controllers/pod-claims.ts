import type { Pod } from 'kubernetes-types/core/v1.js';
import type { LabelSelector } from 'kubernetes-types/meta/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { type KubeObject, refOf } from '../../cluster/kube-object.ts';
import { PODS, type ResourceType } from '../../cluster/resource-type.ts';
import { byController, orphansOf, type ControllerContext } from './context.ts';
import { matchesSelector } from './label-selector.ts';
import { controlledBy } from './ownership.ts';
import { isActive } from './pod-state.ts';

/**
 * The pods of an owner. A pod that nobody owns and the selector matches is taken over, one of the owner's own
 * whose labels no longer match is let go, as when a person relabels a pod to take it out of service.
 */
export async function claimPods(
  context: ControllerContext,
  type: ResourceType,
  owner: KubeObject,
  selector: LabelSelector | undefined,
): Promise<Pod[]> {
  const { views } = context;
  const uid = owner.metadata?.uid ?? '';
  const own = views.pods.find(byController(uid));
  const kept = own.filter((pod) => matchesSelector(selector, pod.metadata?.labels));
  if (owner.metadata?.deletionTimestamp !== undefined) return kept;
  for (const pod of own) {
    if (kept.includes(pod) || pod.metadata?.deletionTimestamp !== undefined) continue;
    const others = (pod.metadata?.ownerReferences ?? []).filter((reference) => reference.uid !== uid);
    await setOwners(context, pod, others);
  }
  for (const pod of views.pods.find(orphansOf(owner.metadata?.namespace ?? ''))) {
    if (!isActive(pod) || !matchesSelector(selector, pod.metadata?.labels)) continue;
    const owners = [...(pod.metadata?.ownerReferences ?? []), controlledBy(type, owner)];
    const adopted = await setOwners(context, pod, owners);
    if (adopted !== undefined) kept.push(adopted);
  }
  return kept;
}

async function setOwners(
  context: ControllerContext,
  pod: Pod,
  ownerReferences: NonNullable<Pod['metadata']>['ownerReferences'],
): Promise<Pod | undefined> {
  // With the version, so that two owners cannot take the same pod.
  const body = { metadata: { ownerReferences, resourceVersion: pod.metadata?.resourceVersion } };
  try {
    const patched = await context.client.patch(
      PODS,
      refOf(pod),
      { type: 'merge', body },
      { signal: context.signal },
    );
    context.views.pods.written(patched);
    return patched;
  } catch (error) {
    if (hasStatus(error, 404) || hasStatus(error, 409)) return undefined;
    throw error;
  }
}
