import { parseBody, parseObjectBody } from '../http/body.ts';
import { cloneJson, isObject, type Json, type JsonObject, stringAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { badRequest, notFound, StatusError } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { decodeBody } from '../rest/decode-body.ts';
import type { ObjectWriter, WriteTarget } from '../rest/object-writer.ts';
import type { WriteOptions } from '../rest/write-options.ts';
import { checkFields } from '../schema/field-validation.ts';
import { type StoredObject, storageKey } from '../store/stored-object.ts';
import { applyJsonPatch } from './json-patch.ts';
import { ownersOf, writeOwners } from './managed-fields.ts';
import { mergePatch } from './merge-patch.ts';
import { applyObject } from './server-side-apply.ts';
import { strategicMerge } from './strategic-merge.ts';

export interface PatchRequest {
  readonly name: string;
  readonly subresource: string | undefined;
  readonly mediaType: string;
  readonly body: Buffer;
  readonly options: WriteOptions;
}

export interface PatchResult {
  readonly stored: StoredObject;
  readonly created: boolean;
}

const APPLY_TYPES = new Set(['application/apply-patch+yaml', 'application/apply-patch+json']);

/** Applies a patch of any of the media types to an object; a server-side apply makes the object where it is missing. */
export function patchObject(writer: ObjectWriter, target: WriteTarget, request: PatchRequest): PatchResult {
  if (APPLY_TYPES.has(request.mediaType)) return applyPatch(writer, target, request);
  const { definition, namespace } = target;
  const change = patcherOf(definition, request);
  const stored = writer.update(
    target,
    request.name,
    (current) => {
      const served = definition.conversion?.fromStorage(current) ?? current;
      const patched = change(served);
      if (!isObject(patched)) throw badRequest('the patch does not leave an object');
      const object = decodeBody(definition, patched, { namespace, name: request.name });
      checkFields(definition, object, request.options);
      return definition.conversion?.toStorage(object) ?? object;
    },
    request.subresource,
    request.options.fieldManager,
  );
  return { stored, created: false };
}

function applyPatch(writer: ObjectWriter, target: WriteTarget, request: PatchRequest): PatchResult {
  const { definition, namespace } = target;
  const { name, subresource, options } = request;
  const body = parseObjectBody(request.body, 'application/yaml');
  if (body['apiVersion'] === undefined || body['kind'] === undefined) {
    throw badRequest("Object 'Kind' or 'apiVersion' is missing in the applied configuration");
  }
  const applied = decodeBody(definition, body, { namespace, name });
  if (applied.metadata['managedFields'] !== undefined) throw badRequest('metadata.managedFields must be nil');
  checkFields(definition, applied, options);
  const facts = {
    manager: options.fieldManager,
    force: options.force,
    hasStatus: definition.hasStatus,
    subresource,
    schema: definition.schema(),
  };
  const toStorage = (object: KubeObject): KubeObject => definition.conversion?.toStorage(object) ?? object;
  if (definition.store.get(storageKey(namespace, name)) === undefined) {
    if (subresource !== undefined) throw notFound(definition.group, definition.resource, name);
    return {
      stored: writer.create(target, toStorage(applyObject(undefined, applied, facts))),
      created: true,
    };
  }
  const stored = writer.update(
    target,
    name,
    (current) => {
      const served = definition.conversion?.fromStorage(current) ?? current;
      const merged = applyObject(served, applied, facts);
      merged.metadata.resourceVersion =
        applied.metadata.resourceVersion ?? current.metadata.resourceVersion ?? '';
      return toStorage(merged);
    },
    subresource,
  );
  return { stored, created: false };
}

type Patcher = (current: KubeObject) => Json;

function patcherOf(definition: ResourceDefinition, request: PatchRequest): Patcher {
  switch (request.mediaType) {
    case 'application/json-patch+json': {
      const operations = parseBody(request.body, 'application/json');
      const base = changesOwners(operations) ? withKnownOwners(definition) : cloneJson;
      return (current) => applyJsonPatch(base(current), operations);
    }
    case 'application/merge-patch+json': {
      const patch = objectBody(request.body);
      return (current) => mergePatch(current, patch);
    }
    case 'application/strategic-merge-patch+json': {
      const patch = objectBody(request.body);
      const schema = definition.schema();
      // As kube-apiserver: custom resources have no strategic merge.
      if (definition.custom !== undefined) throw unsupported(request.mediaType);
      return (current) => strategicMerge(current, patch, schema);
    }
    default:
      throw unsupported(request.mediaType);
  }
}

function changesOwners(operations: Json): boolean {
  return (
    Array.isArray(operations) &&
    operations.some((one) => stringAt(one, 'path')?.startsWith('/metadata/managedFields') === true)
  );
}

/** Objects that were never applied on the server carry no managedFields; a patch of these finds what they stand for. */
function withKnownOwners(definition: ResourceDefinition): (current: KubeObject) => KubeObject {
  return (current) => {
    const copy = cloneJson(current);
    writeOwners(copy, ownersOf(current, definition.schema()));
    return copy;
  };
}

function objectBody(body: Buffer): JsonObject {
  const patch = parseBody(body, 'application/json');
  if (!isObject(patch)) throw badRequest('the patch is not an object');
  return patch;
}

function unsupported(type: string): StatusError {
  return new StatusError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format (${type}) - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml`,
  );
}
