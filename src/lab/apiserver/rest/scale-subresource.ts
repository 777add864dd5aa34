import { mediaType, parseObjectBody, readBody } from '../http/body.ts';
import { type Call, sendJson } from '../http/call.ts';
import {
  ensureObject,
  isObject,
  type Json,
  type JsonObject,
  numberAt,
  objectAt,
  stringAt,
  valueAt,
} from '../json/json.ts';
import { selectorText } from '../json/selector-text.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { badRequest, invalid, methodNotAllowed } from '../json/status-error.ts';
import type { ResourceDefinition, ScalePaths } from '../kinds/resource-definition.ts';
import { applyJsonPatch } from '../patch/json-patch.ts';
import { mergePatch } from '../patch/merge-patch.ts';
import { parseStored, type StoredObject } from '../store/stored-object.ts';
import { getStored } from './object-reader.ts';
import type { ObjectWriter } from './object-writer.ts';
import type { ResourcePath } from './request-info.ts';
import { parseWriteOptions } from './write-options.ts';

/** GET, PUT and PATCH of …/scale: an autoscaling/v1 Scale as a view of the object's replica count. */
export async function handleScale(
  call: Call,
  definition: ResourceDefinition,
  path: ResourcePath,
  writer: ObjectWriter,
): Promise<void> {
  const { scale } = definition;
  const name = path.name ?? '';
  if (scale === undefined) throw methodNotAllowed();
  const stored = getStored(definition, path.namespace, name);
  if (call.method === 'GET') {
    sendJson(call, 200, scaleOf(stored, scale));
    return;
  }
  if (call.method !== 'PUT' && call.method !== 'PATCH') throw methodNotAllowed();
  const wanted = await wantedScale(call, scaleOf(stored, scale));
  const replicas = numberAt(wanted, 'spec', 'replicas') ?? 0;
  if (!Number.isInteger(replicas) || replicas < 0) {
    throw invalid('autoscaling', 'Scale', name, [
      {
        reason: 'FieldValueInvalid',
        message: `Invalid value: ${replicas}: must be greater than or equal to 0`,
        field: 'spec.replicas',
      },
    ]);
  }
  const { dryRun, fieldManager } = parseWriteOptions(call);
  const target = { definition, namespace: path.namespace, user: call.user, dryRun };
  const change = (current: KubeObject): KubeObject => {
    const version = stringAt(wanted, 'metadata', 'resourceVersion');
    if (version !== undefined) current.metadata.resourceVersion = version;
    setReplicas(current, scale.specReplicas, replicas);
    return current;
  };
  const changed = writer.update(target, name, change, 'scale', fieldManager);
  sendJson(call, 200, scaleOf(changed, scale));
}

async function wantedScale(call: Call, present: JsonObject): Promise<JsonObject> {
  const type = mediaType(call.request);
  const body = await readBody(call.request);
  if (call.method === 'PUT') return parseObjectBody(body, type);
  const patch = JSON.parse(body.toString('utf8')) as Json;
  // A patch that names no version is meant for whatever is there.
  if (!isObject(patch) || objectAt(patch, 'metadata')?.['resourceVersion'] === undefined) {
    delete objectAt(present, 'metadata')?.['resourceVersion'];
  }
  const result =
    type === 'application/json-patch+json' ? applyJsonPatch(present, patch) : mergePatch(present, patch);
  if (!isObject(result)) throw badRequest('the patch does not leave a Scale');
  return result;
}

function setReplicas(object: KubeObject, path: readonly string[], replicas: number): void {
  let holder: JsonObject = object;
  for (const step of path.slice(0, -1)) holder = ensureObject(holder, step);
  holder[path.at(-1) ?? 'replicas'] = replicas;
}

function scaleOf(stored: StoredObject, paths: ScalePaths): JsonObject {
  const object = parseStored(stored);
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  const selector = paths.selector === undefined ? undefined : valueAt(object, ...paths.selector);
  const text = typeof selector === 'string' ? selector : isObject(selector) ? selectorText(selector) : '';
  return {
    kind: 'Scale',
    apiVersion: 'autoscaling/v1',
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: numberAt(object, ...paths.specReplicas) ?? 0 },
    status: {
      replicas: numberAt(object, ...paths.statusReplicas) ?? 0,
      ...(text === '' ? {} : { selector: text }),
    },
  };
}
