import { isObject, type Json, objectsAt, stringAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { forbiddenField, invalidValue } from './field-errors.ts';
import {
  dns1035Label,
  dnsLabel,
  dnsSubdomain,
  labelValue,
  type NameRule,
  pathSegment,
  qualifiedName,
} from './names.ts';

/** kube-apiserver's limit of all annotations of an object together. */
const MAX_ANNOTATION_BYTES = 256 * 1024;

function nameRule(definition: ResourceDefinition): NameRule {
  if (definition.group === 'rbac.authorization.k8s.io') return pathSegment;
  if (definition.group === '' && definition.kind === 'Service') return dns1035Label;
  if (definition.group === '' && definition.kind === 'Namespace') return dnsLabel;
  return dnsSubdomain;
}

export function validateMetadata(definition: ResourceDefinition, object: KubeObject): Cause[] {
  const { metadata } = object;
  const causes: Cause[] = [];
  const wrongName = nameRule(definition)(metadata.name ?? '');
  if (wrongName !== undefined) causes.push(invalidValue('metadata.name', metadata.name, wrongName));
  causes.push(...validateLabels(metadata['labels'], 'metadata.labels'));
  causes.push(...validateAnnotations(metadata['annotations']));
  for (const [i, owner] of objectsAt(metadata, 'ownerReferences').entries()) {
    for (const member of ['apiVersion', 'kind', 'name', 'uid']) {
      if ((stringAt(owner, member) ?? '') === '') {
        causes.push(invalidValue(`metadata.ownerReferences[${i}].${member}`, '', 'must not be empty'));
      }
    }
  }
  for (const [i, finalizer] of (metadata.finalizers ?? []).entries()) {
    const wrong = qualifiedName(finalizer);
    if (wrong !== undefined) causes.push(invalidValue(`metadata.finalizers[${i}]`, finalizer, wrong));
  }
  return causes;
}

export function validateLabels(labels: Json | undefined, field: string): Cause[] {
  if (!isObject(labels)) return [];
  const causes: Cause[] = [];
  for (const [key, value] of Object.entries(labels)) {
    const wrongKey = qualifiedName(key);
    if (wrongKey !== undefined) causes.push(invalidValue(field, key, wrongKey));
    const wrongValue = typeof value === 'string' ? labelValue(value) : 'must be a string';
    if (wrongValue !== undefined) causes.push(invalidValue(field, value, wrongValue));
  }
  return causes;
}

function validateAnnotations(annotations: Json | undefined): Cause[] {
  if (!isObject(annotations)) return [];
  const causes: Cause[] = [];
  let size = 0;
  for (const [key, value] of Object.entries(annotations)) {
    const wrong = qualifiedName(key.toLowerCase());
    if (wrong !== undefined) causes.push(invalidValue('metadata.annotations', key, wrong));
    if (typeof value !== 'string')
      causes.push(invalidValue('metadata.annotations', value, 'must be a string'));
    size += key.length + (typeof value === 'string' ? value.length : 0);
  }
  if (size > MAX_ANNOTATION_BYTES) {
    causes.push({
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${MAX_ANNOTATION_BYTES} bytes`,
      field: 'metadata.annotations',
    });
  }
  return causes;
}

/** Finalizers cannot be added to an object that is being deleted. */
export function validateMetadataUpdate(object: KubeObject, old: KubeObject): Cause[] {
  if (old.metadata.deletionTimestamp === undefined) return [];
  const before = new Set(old.metadata.finalizers);
  const added = (object.metadata.finalizers ?? []).filter((one) => !before.has(one));
  if (added.length === 0) return [];
  return [
    forbiddenField(
      'metadata.finalizers',
      `no new finalizers can be added if the object is being deleted, found new finalizers ${JSON.stringify(added)}`,
    ),
  ];
}
