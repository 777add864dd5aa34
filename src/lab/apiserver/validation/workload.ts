import {
  equalJson,
  type Json,
  type JsonObject,
  numberAt,
  objectAt,
  objectsAt,
  stringAt,
  stringsAt,
} from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import { invalidValue, notSupported, required } from './field-errors.ts';
import { validateLabels } from './metadata.ts';
import { validatePodSpec } from './pod.ts';

const UPDATE_TYPES: Readonly<Record<string, readonly string[]>> = {
  Deployment: ['Recreate', 'RollingUpdate'],
  DaemonSet: ['OnDelete', 'RollingUpdate'],
};

/** Deployment, ReplicaSet and DaemonSet: selector, template, replicas, strategy. */
export function validateWorkload(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const spec = objectAt(object, 'spec') ?? {};
  const causes: Cause[] = [];
  for (const member of ['replicas', 'minReadySeconds', 'revisionHistoryLimit', 'progressDeadlineSeconds']) {
    const value = numberAt(spec, member);
    if (value !== undefined && value < 0)
      causes.push(invalidValue(`spec.${member}`, value, 'must be greater than or equal to 0'));
  }
  causes.push(...validateSelector(spec), ...validateStrategy(object.kind, spec));
  const template = objectAt(spec, 'template', 'spec') ?? {};
  causes.push(...validateLabels(objectAt(spec, 'template', 'metadata', 'labels'), 'spec.template.labels'));
  causes.push(...validatePodSpec(template, 'spec.template.spec'));
  const policy = stringAt(template, 'restartPolicy');
  if (policy !== undefined && policy !== 'Always')
    causes.push(notSupported('spec.template.spec.restartPolicy', policy, ['Always']));
  if (old !== undefined && !equalJson(spec['selector'], objectAt(old, 'spec')?.['selector'])) {
    causes.push(invalidValue('spec.selector', spec['selector'], 'field is immutable'));
  }
  return causes;
}

function validateSelector(spec: JsonObject): Cause[] {
  const selector = objectAt(spec, 'selector');
  if (selector === undefined) return [required('spec.selector')];
  const terms =
    Object.keys(objectAt(selector, 'matchLabels') ?? {}).length +
    objectsAt(selector, 'matchExpressions').length;
  if (terms === 0)
    return [invalidValue('spec.selector', selector, 'empty selector is invalid for deployment')];
  const causes = validateLabelSelector(selector, 'spec.selector');
  const labels = objectAt(spec, 'template', 'metadata', 'labels') ?? {};
  if (!selects(selector, labels)) {
    causes.push(
      invalidValue('spec.template.metadata.labels', labels, '`selector` does not match template `labels`'),
    );
  }
  return causes;
}

/** A LabelSelector: operators, and values where the operator has some. */
export function validateLabelSelector(selector: JsonObject | undefined, field: string): Cause[] {
  const causes = validateLabels(selector?.['matchLabels'], `${field}.matchLabels`);
  for (const [i, expression] of objectsAt(selector, 'matchExpressions').entries()) {
    const at = `${field}.matchExpressions[${i}]`;
    const operator = stringAt(expression, 'operator') ?? '';
    const values = stringsAt(expression, 'values');
    if (operator === 'In' || operator === 'NotIn') {
      if (values.length === 0)
        causes.push(required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"));
    } else if (operator === 'Exists' || operator === 'DoesNotExist') {
      if (values.length > 0)
        causes.push({
          reason: 'FieldValueForbidden',
          message: "Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
          field: `${at}.values`,
        });
    } else causes.push(invalidValue(`${at}.operator`, operator, 'not a valid selector operator'));
  }
  return causes;
}

function selects(selector: JsonObject, labels: JsonObject): boolean {
  for (const [key, value] of Object.entries(objectAt(selector, 'matchLabels') ?? {}))
    if (labels[key] !== value) return false;
  return objectsAt(selector, 'matchExpressions').every((expression) => {
    const value: Json | undefined = labels[stringAt(expression, 'key') ?? ''];
    const values = stringsAt(expression, 'values');
    switch (stringAt(expression, 'operator')) {
      case 'In':
        return typeof value === 'string' && values.includes(value);
      case 'NotIn':
        return typeof value !== 'string' || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      default:
        return value === undefined;
    }
  });
}

function validateStrategy(kind: string, spec: JsonObject): Cause[] {
  const supported = UPDATE_TYPES[kind];
  if (supported === undefined) return [];
  const member = kind === 'Deployment' ? 'strategy' : 'updateStrategy';
  const type = stringAt(spec, member, 'type') ?? '';
  if (!supported.includes(type)) return [notSupported(`spec.${member}.type`, type, supported)];
  const rolling = objectAt(spec, member, 'rollingUpdate');
  if (type !== 'RollingUpdate' && rolling !== undefined) {
    return [
      {
        reason: 'FieldValueForbidden',
        message: `Forbidden: may not be specified when strategy \`type\` is '${type}'`,
        field: `spec.${member}.rollingUpdate`,
      },
    ];
  }
  const causes: Cause[] = [];
  for (const one of ['maxUnavailable', 'maxSurge']) {
    const value = rolling?.[one];
    const fine = typeof value === 'number' ? value >= 0 : typeof value === 'string' && /^\d+%$/.test(value);
    if (value !== undefined && !fine)
      causes.push(
        invalidValue(
          `spec.${member}.rollingUpdate.${one}`,
          value,
          'must be an integer or a percentage (e.g. 25%)',
        ),
      );
  }
  if (rolling !== undefined && isZero(rolling['maxUnavailable']) && isZero(rolling['maxSurge'])) {
    causes.push(
      invalidValue(
        `spec.${member}.rollingUpdate.maxUnavailable`,
        rolling['maxUnavailable'],
        'may not be 0 when `maxSurge` is 0',
      ),
    );
  }
  return causes;
}

function isZero(value: Json | undefined): boolean {
  return value === 0 || value === '0%';
}
