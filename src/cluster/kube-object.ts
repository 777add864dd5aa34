import type { ObjectMeta } from 'kubernetes-types/meta/v1.js';

/** What every object of the Kubernetes API has in common. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
}

/** Names one object of a type; without namespace for types of the whole cluster. */
export interface ObjectRef {
  readonly name: string;
  readonly namespace?: string | undefined;
}

/** `namespace/name`, or `name` for objects of the whole cluster: the key of informers and queues. */
export function objectKey(ref: ObjectRef): string {
  return ref.namespace === undefined || ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`;
}

/** Takes apart what `objectKey` made. */
export function parseKey(key: string): ObjectRef {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/** The name and namespace that an object carries in its metadata. */
export function refOf(object: KubeObject): ObjectRef {
  return { name: object.metadata?.name ?? '', namespace: object.metadata?.namespace };
}

export function keyOf(object: KubeObject): string {
  return objectKey(refOf(object));
}
