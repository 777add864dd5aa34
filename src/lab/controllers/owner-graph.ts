import type { OwnerReference } from 'kubernetes-types/meta/v1.js';
import type { KubeObject, ObjectRef } from '../../cluster/kube-object.ts';
import { refOf } from '../../cluster/kube-object.ts';
import type { ResourceType } from '../../cluster/resource-type.ts';

/** What the garbage collector knows of an object. */
export interface OwnedObject {
  readonly uid: string;
  readonly type: ResourceType;
  readonly ref: ObjectRef;
  readonly resourceVersion: string;
  readonly owners: readonly OwnerReference[];
  readonly finalizers: readonly string[];
  readonly isDeleting: boolean;
}

export function ownedObject(type: ResourceType, object: KubeObject): OwnedObject {
  const metadata = object.metadata ?? {};
  return {
    uid: metadata.uid ?? '',
    type,
    ref: refOf(object),
    resourceVersion: metadata.resourceVersion ?? '',
    owners: metadata.ownerReferences ?? [],
    finalizers: metadata.finalizers ?? [],
    isDeleting: metadata.deletionTimestamp !== undefined,
  };
}

/** Who owns whom, by uid, over all types; also what lies in each namespace. */
export class OwnerGraph {
  readonly #objects = new Map<string, OwnedObject>();
  readonly #dependents = new Map<string, Set<string>>();
  readonly #namespaces = new Map<string, Set<string>>();

  get(uid: string): OwnedObject | undefined {
    return this.#objects.get(uid);
  }

  dependentsOf(uid: string): OwnedObject[] {
    return this.#resolve(this.#dependents.get(uid));
  }

  contentOf(namespace: string): OwnedObject[] {
    return this.#resolve(this.#namespaces.get(namespace));
  }

  put(object: OwnedObject): void {
    this.remove(object.uid);
    this.#objects.set(object.uid, object);
    for (const { uid } of object.owners) link(this.#dependents, uid, object.uid);
    if (object.ref.namespace !== undefined) link(this.#namespaces, object.ref.namespace, object.uid);
  }

  remove(uid: string): void {
    const object = this.#objects.get(uid);
    if (object === undefined) return;
    this.#objects.delete(uid);
    for (const owner of object.owners) unlink(this.#dependents, owner.uid, uid);
    if (object.ref.namespace !== undefined) unlink(this.#namespaces, object.ref.namespace, uid);
  }

  #resolve(uids: Set<string> | undefined): OwnedObject[] {
    const found: OwnedObject[] = [];
    for (const uid of uids ?? []) {
      const object = this.#objects.get(uid);
      if (object !== undefined) found.push(object);
    }
    return found;
  }
}

function link(map: Map<string, Set<string>>, from: string, to: string): void {
  const set = map.get(from);
  if (set === undefined) map.set(from, new Set([to]));
  else set.add(to);
}

function unlink(map: Map<string, Set<string>>, from: string, to: string): void {
  const set = map.get(from);
  set?.delete(to);
  if (set?.size === 0) map.delete(from);
}
