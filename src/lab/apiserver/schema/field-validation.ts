import { isObject, type Json, type JsonObject } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { badRequest } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import type { WriteOptions } from '../rest/write-options.ts';
import type { TypeSchema } from './type-schema.ts';

/** kube-apiserver stops after this many. */
const MAX_SHOWN = 100;

/** What a walk over an object finds against its schema. */
interface Findings {
  readonly unknown: string[];
  readonly wrongTypes: string[];
}

/**
 * Decodes against the built-in types as Go would: a wrong type is a 400, a field that the kind does not have is
 * dropped, and refused or warned of as the fieldValidation parameter asks. Custom resources are pruned by their own
 * schema; wrong types in them are found by validation.
 */
export function checkFields(definition: ResourceDefinition, object: KubeObject, options: WriteOptions): void {
  const prefix = `${definition.kind} in version "${definition.version}" cannot be handled as a ${definition.kind}`;
  if (definition.custom !== undefined) {
    reportUnknown(definition.custom.prune(object), prefix, options);
    return;
  }
  const schema = definition.schema();
  if (schema === undefined) return;
  const findings: Findings = { unknown: [], wrongTypes: [] };
  walk(object, schema, '', findings);
  if (findings.wrongTypes.length > 0) throw badRequest(`${prefix}: json: ${findings.wrongTypes[0] ?? ''}`);
  reportUnknown(findings.unknown, prefix, options);
}

function reportUnknown(unknown: readonly string[], prefix: string, options: WriteOptions): void {
  if (unknown.length === 0) return;
  const messages = unknown.slice(0, MAX_SHOWN).map((path) => `unknown field "${path}"`);
  if (options.fieldValidation === 'Strict') {
    throw badRequest(`${prefix}: strict decoding error: ${messages.join(', ')}`);
  }
  if (options.fieldValidation === 'Warn') messages.forEach((message) => options.warn(message));
}

function walk(value: Json | undefined, schema: TypeSchema, path: string, findings: Findings): void {
  if (value === null || value === undefined) return;
  if (!fits(value, schema)) {
    findings.wrongTypes.push(
      `cannot unmarshal ${nameOf(value)} into Go struct field ${path} of type ${goType(schema)}`,
    );
    return;
  }
  if (Array.isArray(value)) {
    const { items } = schema;
    if (items !== undefined) value.forEach((item, i) => walk(item, items, `${path}[${i}]`, findings));
  } else if (isObject(value)) walkObject(value, schema, path, findings);
}

function walkObject(value: JsonObject, schema: TypeSchema, path: string, findings: Findings): void {
  const { properties, values } = schema;
  for (const [member, inner] of Object.entries(value)) {
    const memberPath = path === '' ? member : `${path}.${member}`;
    if (values !== undefined) walk(inner, values, memberPath, findings);
    const known = properties?.get(member);
    if (known !== undefined) walk(inner, known, memberPath, findings);
    else if (properties !== undefined) {
      findings.unknown.push(memberPath);
      delete value[member];
    }
  }
}

function fits(value: Json, schema: TypeSchema): boolean {
  switch (schema.type) {
    case 'any':
      return true;
    case 'object':
      return isObject(value);
    case 'array':
      return Array.isArray(value);
    case 'string':
      return typeof value === 'string';
    case 'boolean':
      return typeof value === 'boolean';
    case 'number':
      return typeof value === 'number';
    case 'integer':
      return Number.isInteger(value);
    case 'int-or-string':
      return typeof value === 'string' || typeof value === 'number';
    default:
      return schema.type satisfies never;
  }
}

function nameOf(value: Json): string {
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'number') return `number${Number.isInteger(value) ? '' : ` ${value}`}`;
  return typeof value === 'boolean' ? 'bool' : typeof value;
}

function goType(schema: TypeSchema): string {
  switch (schema.type) {
    case 'object':
      return schema.name ?? 'map[string]string';
    case 'array':
      return '[]';
    case 'integer':
      return 'int32';
    case 'boolean':
      return 'bool';
    case 'int-or-string':
      return schema.format === 'quantity' ? 'resource.Quantity' : 'intstr.IntOrString';
    case 'number':
      return 'float64';
    case 'string':
    case 'any':
      return schema.type;
    default:
      return schema.type satisfies never;
  }
}
