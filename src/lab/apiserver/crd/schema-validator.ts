import {
  equalJson,
  isObject,
  type Json,
  type JsonObject,
  numberAt,
  objectAt,
  objectsAt,
  stringAt,
  stringsAt,
} from '../json/json.ts';
import type { Cause } from '../json/status-error.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import { duplicate, invalidValue, notSupported, required } from '../validation/field-errors.ts';
import { compilePattern } from './pattern.ts';

// The part of JSON Schema that apiextensions v1 allows. Validation rules in CEL (x-kubernetes-validations) are
// stored and shown but not evaluated.

/** What of a value is wrong by its schema, worded as kube-apiserver does. */
export function validateBySchema(value: Json | undefined, schema: JsonObject, path = ''): Cause[] {
  if (value === undefined) return [];
  if (value === null) {
    return schema['nullable'] === true ? [] : [wrongType(path, value, stringAt(schema, 'type') ?? 'object')];
  }
  const mismatch = typeMismatch(value, schema, path);
  if (mismatch !== undefined) return [mismatch];
  const causes = [...validateEnum(value, schema, path), ...validateCombinations(value, schema, path)];
  if (typeof value === 'string') causes.push(...validateText(value, schema, path));
  if (typeof value === 'number') causes.push(...validateNumber(value, schema, path));
  if (Array.isArray(value)) causes.push(...validateItems(value, schema, path));
  if (isObject(value)) causes.push(...validateMembers(value, schema, path));
  return causes;
}

function wrongType(path: string, value: Json, type: string): Cause {
  return {
    reason: 'FieldValueTypeInvalid',
    message: `Invalid value: ${JSON.stringify(typeName(value))}: ${inBody(path)} must be of type ${type}: ${JSON.stringify(typeName(value))}`,
    field: path === '' ? '<nil>' : path,
  };
}

function inBody(path: string): string {
  return `${path} in body`.trimStart();
}

function typeName(value: Json): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  return Number.isInteger(value) ? 'integer' : typeof value;
}

function typeMismatch(value: Json, schema: JsonObject, path: string): Cause | undefined {
  if (schema['x-kubernetes-int-or-string'] === true) {
    return typeof value === 'string' || Number.isInteger(value)
      ? undefined
      : wrongType(path, value, 'integer,string');
  }
  const type = stringAt(schema, 'type');
  const actual = typeName(value);
  if (type === undefined || type === actual || (type === 'number' && actual === 'integer')) return undefined;
  return wrongType(path, value, type);
}

function validateEnum(value: Json, schema: JsonObject, path: string): Cause[] {
  const allowed = schema['enum'];
  if (!Array.isArray(allowed) || allowed.some((one) => equalJson(one, value))) return [];
  return [
    notSupported(
      path,
      value,
      allowed.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))),
    ),
  ];
}

function validateCombinations(value: Json, schema: JsonObject, path: string): Cause[] {
  const causes = objectsAt(schema, 'allOf').flatMap((one) => validateBySchema(value, one, path));
  const fits = (one: JsonObject): boolean => validateBySchema(value, one, path).length === 0;
  const anyOf = objectsAt(schema, 'anyOf');
  if (anyOf.length > 0 && !anyOf.some(fits))
    causes.push(invalidValue(path, value, `${inBody(path)} must validate at least one schema (anyOf)`));
  const oneOf = objectsAt(schema, 'oneOf');
  if (oneOf.length > 0 && oneOf.filter(fits).length !== 1)
    causes.push(invalidValue(path, value, `${inBody(path)} must validate one and only one schema (oneOf)`));
  const not = objectAt(schema, 'not');
  if (not !== undefined && fits(not))
    causes.push(invalidValue(path, value, `${inBody(path)} must not validate the schema (not)`));
  return causes;
}

const FORMATS: Readonly<Record<string, (text: string) => boolean>> = {
  ipv4: (text) => Ip.tryParse(text)?.family === 4,
  ipv6: (text) => Ip.tryParse(text)?.family === 6,
  cidr: (text) => Cidr.tryParse(text) !== undefined,
  'date-time': (text) => !Number.isNaN(Date.parse(text)),
  date: (text) => /^\d{4}-\d{2}-\d{2}$/.test(text),
  byte: (text) => /^[A-Za-z0-9+/]*={0,2}$/.test(text),
  uuid: (text) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text),
};

function validateText(value: string, schema: JsonObject, path: string): Cause[] {
  const causes: Cause[] = [];
  const length = Array.from(value).length;
  const max = numberAt(schema, 'maxLength');
  const min = numberAt(schema, 'minLength');
  if (max !== undefined && length > max)
    causes.push({
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${max} bytes`,
      field: path,
    });
  if (min !== undefined && length < min)
    causes.push(invalidValue(path, value, `${inBody(path)} should be at least ${min} chars long`));
  const pattern = stringAt(schema, 'pattern');
  const expression = pattern === undefined ? undefined : compilePattern(pattern);
  if (expression !== undefined && !expression.test(value))
    causes.push(invalidValue(path, value, `${inBody(path)} should match '${pattern ?? ''}'`));
  const format = stringAt(schema, 'format') ?? '';
  if (FORMATS[format]?.(value) === false)
    causes.push(
      invalidValue(path, value, `${inBody(path)} must be of type ${format}: ${JSON.stringify(value)}`),
    );
  return causes;
}

function validateNumber(value: number, schema: JsonObject, path: string): Cause[] {
  const causes: Cause[] = [];
  const max = numberAt(schema, 'maximum');
  const min = numberAt(schema, 'minimum');
  const step = numberAt(schema, 'multipleOf');
  const belowMax =
    schema['exclusiveMaximum'] === true ? value < (max ?? Infinity) : value <= (max ?? Infinity);
  const aboveMin =
    schema['exclusiveMinimum'] === true ? value > (min ?? -Infinity) : value >= (min ?? -Infinity);
  if (!belowMax)
    causes.push(
      invalidValue(
        path,
        value,
        `${inBody(path)} should be less than ${schema['exclusiveMaximum'] === true ? '' : 'or equal to '}${max ?? 0}`,
      ),
    );
  if (!aboveMin)
    causes.push(
      invalidValue(
        path,
        value,
        `${inBody(path)} should be greater than ${schema['exclusiveMinimum'] === true ? '' : 'or equal to '}${min ?? 0}`,
      ),
    );
  if (step !== undefined && !Number.isInteger(value / step))
    causes.push(invalidValue(path, value, `${inBody(path)} should be a multiple of ${step}`));
  return causes;
}

function validateItems(value: readonly Json[], schema: JsonObject, path: string): Cause[] {
  const causes: Cause[] = [];
  const max = numberAt(schema, 'maxItems');
  const min = numberAt(schema, 'minItems');
  if (max !== undefined && value.length > max)
    causes.push({
      reason: 'FieldValueInvalid',
      message: `Too many: ${value.length}: must have at most ${max} items`,
      field: path,
    });
  if (min !== undefined && value.length < min)
    causes.push(invalidValue(path, value.length, `${inBody(path)} should have at least ${min} items`));
  const items = objectAt(schema, 'items');
  if (items !== undefined)
    value.forEach((item, i) => causes.push(...validateBySchema(item, items, `${path}[${i}]`)));
  causes.push(...validateUnique(value, schema, path));
  return causes;
}

/** Sets hold a value once, maps an element once by its keys. */
function validateUnique(value: readonly Json[], schema: JsonObject, path: string): Cause[] {
  const listType = stringAt(schema, 'x-kubernetes-list-type');
  const keys = stringsAt(schema, 'x-kubernetes-list-map-keys');
  if (listType !== 'set' && listType !== 'map') return [];
  const seen = new Set<string>();
  const causes: Cause[] = [];
  for (const [i, item] of value.entries()) {
    const shown: Json =
      listType === 'map' && isObject(item)
        ? Object.fromEntries(keys.map((key) => [key, item[key] ?? null]))
        : item;
    const id = JSON.stringify(shown);
    if (seen.has(id)) causes.push(duplicate(`${path}[${i}]`, shown));
    seen.add(id);
  }
  return causes;
}

function validateMembers(value: JsonObject, schema: JsonObject, path: string): Cause[] {
  const causes: Cause[] = [];
  const at = (member: string): string => (path === '' ? member : `${path}.${member}`);
  for (const member of stringsAt(schema, 'required'))
    if (value[member] === undefined) causes.push(required(at(member)));
  const max = numberAt(schema, 'maxProperties');
  const min = numberAt(schema, 'minProperties');
  const count = Object.keys(value).length;
  if (max !== undefined && count > max)
    causes.push(invalidValue(path, count, `${inBody(path)} should have at most ${max} properties`));
  if (min !== undefined && count < min)
    causes.push(invalidValue(path, count, `${inBody(path)} should have at least ${min} properties`));
  const properties = objectAt(schema, 'properties') ?? {};
  const values = schema['additionalProperties'];
  for (const [member, inner] of Object.entries(value)) {
    const known = properties[member];
    // metadata is checked by the server for all kinds alike.
    if (path === '' && member === 'metadata') continue;
    if (isObject(known)) causes.push(...validateBySchema(inner, known, at(member)));
    else if (isObject(values)) causes.push(...validateBySchema(inner, values, at(member)));
  }
  return causes;
}
