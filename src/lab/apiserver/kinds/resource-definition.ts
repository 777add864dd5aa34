import type { JsonObject } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import type { TypeSchema } from '../schema/type-schema.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { TableColumns } from '../tables/table-columns.ts';

/** What is particular about one stored kind. Every hook works on the storage version. */
export interface Strategy {
  /** Sets what the user left out; in place. Also run on updates, as decoding does in kube-apiserver. */
  readonly setDefaults?: (object: KubeObject) => void;
  /** Before a new object is validated: what users may not set is dropped here. */
  readonly prepareForCreate?: (object: KubeObject) => void;
  /** Before a change through the main resource is validated; keeps what only subresources may change. */
  readonly prepareForUpdate?: (object: KubeObject, old: KubeObject) => void;
  readonly validate?: (object: KubeObject, old: KubeObject | undefined) => Cause[];
  /** Values of selectable fields; every field name of `selectableFields` that is not empty. */
  readonly fieldsOf?: (object: KubeObject) => Record<string, string>;
  readonly selectableFields?: readonly string[];
  /** Whether metadata.generation counts changes of the object outside metadata and status. */
  readonly countsGenerations?: boolean;
  /** Whether a PUT or PATCH on a name that does not exist makes the object (Leases, Endpoints, Events …). */
  readonly createOnUpdate?: boolean;
}

/** Where the replica count of a kind with a scale subresource is. */
export interface ScalePaths {
  readonly specReplicas: readonly string[];
  readonly statusReplicas: readonly string[];
  /** Path of the label selector: an object (matchLabels …), or with CRDs a string. */
  readonly selector: readonly string[] | undefined;
}

/** The schema of a custom resource as its definition has it. */
export interface CustomSchema {
  /** For OpenAPI documents and `kubectl explain`. */
  readonly openApi: JsonObject;
  /** Another text whenever the schema is another one. */
  readonly revision: string;
  /** Drops members that the schema does not know; returns their paths. */
  readonly prune: (object: KubeObject) => string[];
}

/** One kind in one served version. Versions of one kind share store and strategy. */
export interface ResourceDefinition {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** Plural, lower case: the path segment. */
  readonly resource: string;
  readonly singular: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly hasStatus: boolean;
  readonly scale?: ScalePaths;
  readonly store: ObjectStore;
  readonly strategy: Strategy;
  /** apiVersion in which objects are stored, and group/resource that own the store. */
  readonly storageApiVersion: string;
  /** Conversion where this version is not the storage version. */
  readonly conversion?: {
    readonly fromStorage: (object: KubeObject) => KubeObject;
    readonly toStorage: (object: KubeObject) => KubeObject;
  };
  readonly schema: () => TypeSchema | undefined;
  readonly columns: TableColumns;
  /** Only custom resources have it. */
  readonly custom?: CustomSchema;
}

export function apiVersionOf(definition: Pick<ResourceDefinition, 'group' | 'version'>): string {
  return definition.group === '' ? definition.version : `${definition.group}/${definition.version}`;
}
