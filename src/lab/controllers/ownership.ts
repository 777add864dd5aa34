import type { OwnerReference } from 'kubernetes-types/meta/v1.js';
import { apiVersionOf, type ResourceType } from '../../cluster/resource-type.ts';
import type { KubeObject } from '../../cluster/kube-object.ts';

/** The one owner that manages the object, if any. */
export function controllerOf(object: KubeObject): OwnerReference | undefined {
  return object.metadata?.ownerReferences?.find((reference) => reference.controller === true);
}

/** The reference with which `owner` takes control of an object. */
export function controlledBy(type: ResourceType, owner: KubeObject): OwnerReference {
  return {
    apiVersion: apiVersionOf(type),
    kind: type.kind,
    name: owner.metadata?.name ?? '',
    uid: owner.metadata?.uid ?? '',
    controller: true,
    blockOwnerDeletion: true,
  };
}
