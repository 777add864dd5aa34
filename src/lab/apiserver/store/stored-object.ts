import { type KubeObject, metaStrings } from '../json/kube-object.ts';

/**
 * One object as the store keeps it: its JSON text, once, and the few strings that selectors look at. Text
 * is a third of the memory of the parsed object, and lists and watches send it as it is.
 */
export interface StoredObject {
  /** `namespace/name`, or the name alone for kinds without namespace. */
  readonly key: string;
  readonly namespace: string;
  readonly name: string;
  readonly revision: number;
  readonly text: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Selectable fields beyond metadata.name and metadata.namespace. */
  readonly fields: Readonly<Record<string, string>>;
}

export function storageKey(namespace: string, name: string): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

export function parseStored(stored: StoredObject): KubeObject {
  return JSON.parse(stored.text) as KubeObject;
}

const NONE: Readonly<Record<string, string>> = Object.freeze({});

/** Writes the revision into the object and takes its text. */
export function toStored(
  object: KubeObject,
  revision: number,
  fields: Readonly<Record<string, string>>,
): StoredObject {
  object.metadata.resourceVersion = String(revision);
  const labels = metaStrings(object, 'labels');
  const namespace = object.metadata.namespace ?? '';
  const name = object.metadata.name ?? '';
  return {
    key: storageKey(namespace, name),
    namespace,
    name,
    revision,
    text: JSON.stringify(object),
    labels: Object.keys(labels).length === 0 ? NONE : labels,
    fields: Object.keys(fields).length === 0 ? NONE : fields,
  };
}
