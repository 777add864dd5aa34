import { createHash } from 'node:crypto';
import type { AdmissionPlugin, Change } from '../admission/admission-plugin.ts';
import {
  isObject,
  type JsonObject,
  objectAt,
  objectsAt,
  stringAt,
  stringsAt,
  booleanAt,
} from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { invalid } from '../json/status-error.ts';
import type { CustomSchema, ResourceDefinition, ScalePaths, Strategy } from '../kinds/resource-definition.ts';
import type { ResourceRegistry } from '../rest/resource-registry.ts';
import { ObjectStore } from '../store/object-store.ts';
import type { RevisionCounter } from '../store/revision-counter.ts';
import { parseStored } from '../store/stored-object.ts';
import { invalidValue } from '../validation/field-errors.ts';
import { compileJsonPath, textOf } from './json-path.ts';
import { printerColumns } from './printer-columns.ts';
import { validateBySchema } from './schema-validator.ts';
import { defaultBySchema, pruneBySchema, typeSchemaOf } from './structural-schema.ts';

/** What is served for one CustomResourceDefinition. */
interface Served {
  readonly store: ObjectStore;
  definitions: readonly ResourceDefinition[];
  /** Of the storage version; the store asks when it stores. */
  fieldsOf: (object: KubeObject) => Record<string, string>;
}

/** Serves custom resources from the moment their definition is stored until it is gone. */
export class CustomKinds implements AdmissionPlugin {
  readonly #registry: ResourceRegistry;
  readonly #revisions: RevisionCounter;
  readonly #served = new Map<string, Served>();

  constructor(registry: ResourceRegistry, revisions: RevisionCounter, definitions: ObjectStore) {
    this.#registry = registry;
    this.#revisions = revisions;
    definitions.subscribe((event) => {
      if (event.type !== 'DELETED') this.#serve(parseStored(event.object));
    });
  }

  /** A definition cannot take the place of another kind. */
  admit({ definition, object, operation, name }: Change): void {
    if (definition.kind !== 'CustomResourceDefinition' || operation === 'delete') return;
    const group = stringAt(object, 'spec', 'group') ?? '';
    const plural = stringAt(object, 'spec', 'names', 'plural') ?? '';
    for (const other of this.#registry.all()) {
      if (other.group !== group || other.resource !== plural || this.#served.has(name)) continue;
      throw invalid('apiextensions.k8s.io', 'CustomResourceDefinition', name, [
        invalidValue('spec.names.plural', plural, `"${plural}.${group}" is already in use`),
      ]);
    }
  }

  /** With the definition go its objects. */
  released(object: KubeObject, definition: ResourceDefinition): void {
    if (definition.kind !== 'CustomResourceDefinition') return;
    const name = object.metadata.name ?? '';
    const served = this.#served.get(name);
    if (served === undefined) return;
    // Taken out one by one, each by itself: the walk must not see its own removals.
    const all = Array.from(served.store.objects());
    for (const stored of all) served.store.delete(stored.key, parseStored(stored));
    for (const one of served.definitions) this.#registry.remove(one);
    this.#served.delete(name);
  }

  #serve(object: KubeObject): void {
    const name = object.metadata.name ?? '';
    const known = this.#served.get(name);
    const served: Served = known ?? {
      store: new ObjectStore(this.#revisions, (one) => served.fieldsOf(one)),
      definitions: [],
      fieldsOf: () => ({}),
    };
    this.#served.set(name, served);
    for (const one of served.definitions) this.#registry.remove(one);
    const versions = objectsAt(object, 'spec', 'versions');
    const storage = versions.find((one) => one['storage'] === true);
    served.definitions = versions
      .filter((one) => one['served'] === true)
      .map((one) => definitionOf(object, one, stringAt(storage, 'name') ?? '', served.store));
    served.fieldsOf = strategyOf(storage ?? {}).fieldsOf ?? served.fieldsOf;
    for (const one of served.definitions) this.#registry.add(one);
  }
}

function schemaOf(version: JsonObject): JsonObject {
  return (
    objectAt(version, 'schema', 'openAPIV3Schema') ?? {
      type: 'object',
      'x-kubernetes-preserve-unknown-fields': true,
    }
  );
}

function definitionOf(
  crd: KubeObject,
  version: JsonObject,
  storageVersion: string,
  store: ObjectStore,
): ResourceDefinition {
  const names = objectAt(crd, 'spec', 'names') ?? {};
  const group = stringAt(crd, 'spec', 'group') ?? '';
  const versionName = stringAt(version, 'name') ?? '';
  const storageApiVersion = `${group}/${storageVersion}`;
  const schema = schemaOf(version);
  const typeSchema = typeSchemaOf(schema);
  const scale = scaleOf(version);
  return {
    group,
    version: versionName,
    kind: stringAt(names, 'kind') ?? '',
    resource: stringAt(names, 'plural') ?? '',
    singular: stringAt(names, 'singular') ?? '',
    shortNames: stringsAt(names, 'shortNames'),
    categories: stringsAt(names, 'categories'),
    namespaced: stringAt(crd, 'spec', 'scope') === 'Namespaced',
    hasStatus: objectAt(version, 'subresources', 'status') !== undefined,
    ...(scale === undefined ? {} : { scale }),
    store,
    strategy: strategyOf(version),
    storageApiVersion,
    ...(versionName === storageVersion
      ? {}
      : { conversion: conversionOf(`${group}/${versionName}`, storageApiVersion) }),
    schema: () => typeSchema,
    columns: printerColumns(objectsAt(version, 'additionalPrinterColumns')),
    custom: customSchemaOf(schema),
  };
}

function customSchemaOf(schema: JsonObject): CustomSchema {
  const properties = objectAt(schema, 'properties');
  return {
    openApi: {
      ...schema,
      properties: {
        apiVersion: { type: 'string' },
        kind: { type: 'string' },
        ...properties,
        metadata: { type: 'object', description: 'Standard metadata of objects.' },
      },
    },
    revision: createHash('sha256').update(JSON.stringify(schema)).digest('hex'),
    prune: (object) => pruneBySchema(object, schema),
  };
}

/** Versions of a custom resource differ in their name only; conversion webhooks are not called. */
function conversionOf(served: string, stored: string): NonNullable<ResourceDefinition['conversion']> {
  return {
    fromStorage: (object) => ({ ...object, apiVersion: served }),
    toStorage: (object) => ({ ...object, apiVersion: stored }),
  };
}

function strategyOf(version: JsonObject): Strategy {
  const schema = schemaOf(version);
  const selectable = objectsAt(version, 'selectableFields').flatMap((one) => {
    const path = stringAt(one, 'jsonPath') ?? '';
    const read = compileJsonPath(path);
    return read === undefined ? [] : [{ name: path.replace(/^\./, ''), read }];
  });
  return {
    setDefaults: (object) => defaultBySchema(object, schema),
    prepareForCreate: (object) => {
      if (objectAt(version, 'subresources', 'status') !== undefined) delete object['status'];
    },
    validate: (object) => validateBySchema(object, schema),
    countsGenerations: true,
    selectableFields: selectable.map((one) => one.name),
    fieldsOf: (object) =>
      Object.fromEntries(
        selectable.flatMap(({ name, read }) => {
          const [value] = read(object);
          return value === undefined || isObject(value) ? [] : [[name, textOf(value)]];
        }),
      ),
  };
}

function scaleOf(version: JsonObject): ScalePaths | undefined {
  const scale = objectAt(version, 'subresources', 'scale');
  if (scale === undefined || booleanAt(version, 'served') === false) return undefined;
  const path = (member: string): string[] =>
    (stringAt(scale, member) ?? '').split('.').filter((step) => step !== '');
  const selector = path('labelSelectorPath');
  return {
    specReplicas: path('specReplicasPath'),
    statusReplicas: path('statusReplicasPath'),
    selector: selector.length === 0 ? undefined : selector,
  };
}
