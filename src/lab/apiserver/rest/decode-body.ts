import { isObject, type Json, type JsonObject } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { badRequest } from '../json/status-error.ts';
import { type ResourceDefinition, apiVersionOf } from '../kinds/resource-definition.ts';

/** What the path says about the object in the body. */
interface Expected {
  readonly namespace: string;
  readonly name: string | undefined;
}

/** Checks that the body is an object of this kind, version, namespace and name; fills in what it leaves out. */
export function decodeBody(definition: ResourceDefinition, body: JsonObject, expected: Expected): KubeObject {
  const apiVersion = body['apiVersion'] ?? apiVersionOf(definition);
  const kind = body['kind'] ?? definition.kind;
  if (apiVersion !== apiVersionOf(definition) || kind !== definition.kind) {
    throw badRequest(
      `the API version or kind in the data (${text(apiVersion)}, Kind=${text(kind)}) does not match the expected (${apiVersionOf(definition)}, Kind=${definition.kind})`,
    );
  }
  const metadata = body['metadata'] ?? {};
  if (!isObject(metadata)) throw badRequest('metadata must be an object');
  dropNulls(metadata);
  const object: KubeObject = { apiVersion, kind, metadata, ...rest(body) };
  checkMetadataTypes(object);
  if (expected.name !== undefined) {
    if (metadata['name'] !== undefined && metadata['name'] !== '' && metadata['name'] !== expected.name) {
      throw badRequest(
        `the name of the object (${text(metadata['name'])}) does not match the name on the URL (${expected.name})`,
      );
    }
    object.metadata.name = expected.name;
  }
  checkNamespace(definition, object, expected.namespace);
  return object;
}

function text(value: Json | undefined): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

function rest(body: JsonObject): JsonObject {
  const { apiVersion: _, kind: __, metadata: ___, ...others } = body;
  return others;
}

function dropNulls(metadata: JsonObject): void {
  for (const [member, value] of Object.entries(metadata)) if (value === null) delete metadata[member];
}

function checkMetadataTypes(object: KubeObject): void {
  const { metadata } = object;
  for (const member of ['name', 'generateName', 'namespace', 'uid', 'resourceVersion']) {
    const value = metadata[member];
    if (value !== undefined && typeof value !== 'string') {
      throw badRequest(
        `json: cannot unmarshal ${typeof value} into Go struct field ObjectMeta.metadata.${member} of type string`,
      );
    }
  }
  for (const member of ['labels', 'annotations']) {
    const value = metadata[member];
    if (value !== undefined && !isObject(value))
      throw badRequest(`metadata.${member} must be a map of strings`);
    for (const [key, text] of Object.entries(value ?? {})) {
      if (typeof text !== 'string') {
        throw badRequest(
          `json: cannot unmarshal ${typeof text} into Go struct field ObjectMeta.metadata.${member} of type string (key "${key}")`,
        );
      }
    }
  }
  for (const member of ['finalizers', 'ownerReferences', 'managedFields']) {
    const value = metadata[member];
    if (value !== undefined && !Array.isArray(value)) throw badRequest(`metadata.${member} must be a list`);
  }
}

function checkNamespace(definition: ResourceDefinition, object: KubeObject, namespace: string): void {
  const given = object.metadata.namespace;
  if (!definition.namespaced) {
    delete object.metadata.namespace;
    return;
  }
  if (given !== undefined && given !== '' && given !== namespace) {
    throw badRequest(`the namespace of the provided object does not match the namespace sent on the request`);
  }
  object.metadata.namespace = namespace;
}
