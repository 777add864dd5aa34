import { Cidr } from '../../../net/cidr.ts';
import { equalJson, numberAt, objectAt, stringsAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import { forbiddenField, invalidValue } from './field-errors.ts';

// Validation of the kinds that have only a few rules.

const DATA_KEY = /^[-._a-zA-Z0-9]+$/;
const BASE64 = /^[A-Za-z0-9+/\r\n]*={0,2}[\r\n]*$/;
/** Of a ConfigMap or Secret. */
const MAX_DATA_BYTES = 1024 * 1024;

function validateData(object: KubeObject, members: readonly string[]): Cause[] {
  const causes: Cause[] = [];
  let size = 0;
  for (const member of members) {
    for (const [key, value] of Object.entries(objectAt(object, member) ?? {})) {
      if (!DATA_KEY.test(key) || key.length > 253 || key === '.' || key === '..') {
        causes.push(
          invalidValue(
            `${member}[${key}]`,
            key,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
          ),
        );
      }
      if (typeof value === 'string') size += value.length;
    }
  }
  if (size > MAX_DATA_BYTES)
    causes.push({
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${MAX_DATA_BYTES} bytes`,
      field: '',
    });
  return causes;
}

function validateImmutableData(
  object: KubeObject,
  old: KubeObject | undefined,
  members: readonly string[],
): Cause[] {
  if (old?.['immutable'] !== true) return [];
  const causes: Cause[] = [];
  if (object['immutable'] !== true)
    causes.push(forbiddenField('immutable', 'field is immutable when `immutable` is set'));
  for (const member of members) {
    if (!equalJson(object[member], old[member]))
      causes.push(forbiddenField(member, 'field is immutable when `immutable` is set'));
  }
  return causes;
}

export function validateConfigMap(object: KubeObject, old: KubeObject | undefined): Cause[] {
  return [
    ...validateData(object, ['data', 'binaryData']),
    ...validateImmutableData(object, old, ['data', 'binaryData']),
  ];
}

export function validateSecret(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const causes = [...validateData(object, ['data']), ...validateImmutableData(object, old, ['data'])];
  for (const [key, value] of Object.entries(objectAt(object, 'data') ?? {})) {
    if (typeof value !== 'string' || !BASE64.test(value))
      causes.push(invalidValue(`data[${key}]`, '<secret contents redacted>', 'illegal base64 data'));
  }
  if (old !== undefined && old['type'] !== object['type'])
    causes.push(invalidValue('type', object['type'], 'field is immutable'));
  return causes;
}

export function validateNode(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const spec = objectAt(object, 'spec') ?? {};
  const causes: Cause[] = [];
  const cidrs = stringsAt(spec, 'podCIDRs');
  for (const [i, text] of cidrs.entries()) {
    if (Cidr.tryParse(text) === undefined)
      causes.push(
        invalidValue(
          `spec.podCIDRs[${i}]`,
          text,
          'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        ),
      );
  }
  const before = stringsAt(objectAt(old, 'spec'), 'podCIDRs');
  if (before.length > 0 && !equalJson(before, cidrs)) {
    causes.push(
      forbiddenField('spec.podCIDRs', 'node updates may not change podCIDR except from "" to valid'),
    );
  }
  return causes;
}

export function validateLease(object: KubeObject): Cause[] {
  const seconds = numberAt(object, 'spec', 'leaseDurationSeconds');
  if (seconds !== undefined && seconds <= 0)
    return [invalidValue('spec.leaseDurationSeconds', seconds, 'must be greater than 0')];
  return [];
}
