import { parseBody } from '../http/body.ts';
import { cloneJson, isObject, type Json, type JsonObject } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { badRequest, StatusError } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { decodeBody } from '../rest/decode-body.ts';
import type { ObjectWriter, WriteTarget } from '../rest/object-writer.ts';
import type { WriteOptions } from '../rest/write-options.ts';
import { checkFields } from '../schema/field-validation.ts';
import type { StoredObject } from '../store/stored-object.ts';
import { applyJsonPatch } from './json-patch.ts';
import { mergePatch } from './merge-patch.ts';

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

/** Applies a patch of any of the four media types to an object. */
export function patchObject(writer: ObjectWriter, target: WriteTarget, request: PatchRequest): PatchResult {
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
  );
  return { stored, created: false };
}

type Patcher = (current: KubeObject) => Json;

function patcherOf(definition: ResourceDefinition, request: PatchRequest): Patcher {
  switch (request.mediaType) {
    case 'application/json-patch+json': {
      const operations = parseBody(request.body, 'application/json');
      return (current) => applyJsonPatch(cloneJson(current), operations);
    }
    case 'application/merge-patch+json': {
      const patch = objectBody(request.body);
      return (current) => mergePatch(current, patch);
    }
    case 'application/strategic-merge-patch+json': {
      const patch = objectBody(request.body);
      return (current) => mergePatch(current, patch);
    }
    default:
      throw unsupported(request.mediaType, definition);
  }
}

function objectBody(body: Buffer): JsonObject {
  const patch = parseBody(body, 'application/json');
  if (!isObject(patch)) throw badRequest('the patch is not an object');
  return patch;
}

function unsupported(type: string, _definition: ResourceDefinition): StatusError {
  return new StatusError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format (${type}) - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml`,
  );
}
