import {
  arrayAt,
  type Json,
  type JsonObject,
  isObject,
  objectAt,
  stringAt,
  stringsAt,
} from '../json/json.ts';
import type { TypeSchema } from '../schema/type-schema.ts';

// A structural schema (apiextensions v1) says every member and its type, so it can prune, default and merge.

const TYPES = new Set(['object', 'array', 'string', 'integer', 'number', 'boolean']);

/** The schema as server-side apply and merge patches need it. */
export function typeSchemaOf(schema: JsonObject): TypeSchema {
  const type = stringAt(schema, 'type') ?? '';
  if (schema['x-kubernetes-int-or-string'] === true) return { type: 'int-or-string' };
  if (!TYPES.has(type)) return { type: 'any', preserveUnknown: true };
  if (type === 'array') {
    const items = objectAt(schema, 'items');
    const listType = stringAt(schema, 'x-kubernetes-list-type');
    return {
      type: 'array',
      listType: listType === 'map' || listType === 'set' ? listType : 'atomic',
      listKeys: stringsAt(schema, 'x-kubernetes-list-map-keys'),
      keyDefaults: keyDefaults(schema, items),
      ...(items === undefined ? {} : { items: typeSchemaOf(items) }),
    };
  }
  if (type !== 'object') return { type: type as 'string' };
  const properties = objectAt(schema, 'properties');
  const values = objectAt(schema, 'additionalProperties');
  return {
    type: 'object',
    ...(properties === undefined ? {} : { properties: new Map(memberSchemas(properties)) }),
    ...(values === undefined ? {} : { values: typeSchemaOf(values) }),
    ...(schema['x-kubernetes-map-type'] === 'atomic' ? { atomic: true } : {}),
    ...(schema['x-kubernetes-preserve-unknown-fields'] === true ? { preserveUnknown: true } : {}),
  };
}

function* memberSchemas(properties: JsonObject): Generator<[string, TypeSchema]> {
  for (const [member, inner] of Object.entries(properties))
    if (isObject(inner)) yield [member, typeSchemaOf(inner)];
}

function keyDefaults(schema: JsonObject, items: JsonObject | undefined): Record<string, string> {
  const defaults: Record<string, string> = {};
  for (const key of stringsAt(schema, 'x-kubernetes-list-map-keys')) {
    const value = stringAt(items, 'properties', key, 'default');
    if (value !== undefined) defaults[key] = value;
  }
  return defaults;
}

/** Members that every object has, whatever the schema says. */
const OBJECT_MEMBERS = new Set(['apiVersion', 'kind', 'metadata']);

/** Drops members that the schema does not know, in place; returns their paths. */
export function pruneBySchema(
  value: Json | undefined,
  schema: JsonObject,
  isRoot = true,
  path = '',
): string[] {
  if (Array.isArray(value)) {
    const items = objectAt(schema, 'items');
    return items === undefined
      ? []
      : value.flatMap((item, i) => pruneBySchema(item, items, false, `${path}[${i}]`));
  }
  if (!isObject(value)) return [];
  const properties = objectAt(schema, 'properties');
  const values = schema['additionalProperties'];
  const keepsAll = schema['x-kubernetes-preserve-unknown-fields'] === true || values === true;
  const wholeObject = isRoot || schema['x-kubernetes-embedded-resource'] === true;
  const dropped: string[] = [];
  for (const [member, inner] of Object.entries(value)) {
    const at = path === '' ? member : `${path}.${member}`;
    const known = objectAt(properties, member);
    if (wholeObject && OBJECT_MEMBERS.has(member)) continue;
    if (known !== undefined) dropped.push(...pruneBySchema(inner, known, false, at));
    else if (isObject(values)) dropped.push(...pruneBySchema(inner, values, false, at));
    else if (!keepsAll) {
      delete value[member];
      dropped.push(at);
    }
  }
  return dropped;
}

/** Sets defaults, in place, where the parent exists; null becomes the default unless the schema is nullable. */
export function defaultBySchema(value: Json | undefined, schema: JsonObject): void {
  if (Array.isArray(value)) {
    const items = objectAt(schema, 'items');
    if (items !== undefined) value.forEach((item) => defaultBySchema(item, items));
    return;
  }
  if (!isObject(value)) return;
  const properties = objectAt(schema, 'properties') ?? {};
  for (const [member, inner] of Object.entries(properties)) {
    if (!isObject(inner)) continue;
    if (value[member] === null && inner['nullable'] !== true && inner['default'] !== undefined)
      delete value[member];
    if (value[member] === undefined && inner['default'] !== undefined)
      value[member] = structuredClone(inner['default']);
    defaultBySchema(value[member], inner);
  }
  const values = schema['additionalProperties'];
  if (!isObject(values)) return;
  for (const [member, inner] of Object.entries(value))
    if (properties[member] === undefined) defaultBySchema(inner, values);
}

/** Why a schema cannot be used: it must be an object at the root, and say its types. */
export function schemaProblem(schema: JsonObject | undefined): string | undefined {
  if (schema === undefined) return 'schemas are required';
  if (schema['type'] !== 'object') return 'must be object at the root';
  const unknown = arrayAt(schema, 'required').some((one) => typeof one !== 'string');
  return unknown ? 'required must list names' : undefined;
}
