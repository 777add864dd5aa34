import { mediaType, parseObjectBody, readBody } from '../http/body.ts';
import { type Call, sendJson } from '../http/call.ts';
import { ensureObject, type JsonObject, objectAt, objectsAt, stringAt } from '../json/json.ts';
import { kubeTime } from '../json/kube-object.ts';
import { badRequest, conflict, methodNotAllowed } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { removeObject } from './object-remover.ts';
import type { ObjectWriter } from './object-writer.ts';
import type { ResourcePath } from './request-info.ts';
import { parseDeleteOptions, parseWriteOptions } from './write-options.ts';

/** pods/binding: the scheduler's word on where the pod runs. Once only. */
export async function bindPod(
  call: Call,
  pods: ResourceDefinition,
  path: ResourcePath,
  writer: ObjectWriter,
): Promise<void> {
  if (call.method !== 'POST') throw methodNotAllowed();
  const body = parseObjectBody(await readBody(call.request), mediaType(call.request));
  const node = stringAt(body, 'target', 'name') ?? '';
  const name = path.name ?? stringAt(body, 'metadata', 'name') ?? '';
  if (node === '') throw badRequest('Binding: target.name: Required value: name of the node');
  const { dryRun } = parseWriteOptions(call);
  const target = { definition: pods, namespace: path.namespace, user: call.user, dryRun };
  writer.update(
    target,
    name,
    (pod) => {
      const present = stringAt(pod, 'spec', 'nodeName') ?? '';
      if (present !== '')
        throw conflict('', 'pods/binding', name, `pod ${name} is already assigned to node "${present}"`);
      if (pod.metadata.deletionTimestamp !== undefined)
        throw conflict(
          '',
          'pods/binding',
          name,
          `pod ${name} is being deleted, cannot be assigned to a host`,
        );
      ensureObject(pod, 'spec')['nodeName'] = node;
      const annotations = objectAt(body, 'metadata', 'annotations');
      if (annotations !== undefined) Object.assign(ensureObject(pod.metadata, 'annotations'), annotations);
      setScheduled(ensureObject(pod, 'status'));
      return pod;
    },
    'binding',
  );
  sendJson(call, 201, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 });
}

function setScheduled(status: JsonObject): void {
  const others = objectsAt(status, 'conditions').filter((one) => one['type'] !== 'PodScheduled');
  others.push({
    type: 'PodScheduled',
    status: 'True',
    lastProbeTime: null,
    lastTransitionTime: kubeTime(new Date()),
  });
  status['conditions'] = others;
}

/** pods/eviction: a delete; there are no disruption budgets that could refuse it. */
export async function evictPod(
  call: Call,
  pods: ResourceDefinition,
  path: ResourcePath,
  writer: ObjectWriter,
): Promise<void> {
  if (call.method !== 'POST') throw methodNotAllowed();
  const body = parseObjectBody(await readBody(call.request), mediaType(call.request));
  const options = parseDeleteOptions(call, objectAt(body, 'deleteOptions'));
  const target = { definition: pods, namespace: path.namespace, user: call.user, dryRun: options.dryRun };
  removeObject(writer, target, path.name ?? '', options);
  sendJson(call, 201, { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', code: 201 });
}
