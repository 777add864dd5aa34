import { tableGroup, type TableField, tableType } from './type-table.ts';
import type { TypeSchema } from './type-schema.ts';

const ANY: TypeSchema = { type: 'any' };

const SCALARS: Readonly<Record<string, TypeSchema>> = {
  s: { type: 'string' },
  i: { type: 'integer' },
  f: { type: 'number' },
  b: { type: 'boolean' },
  y: { type: 'string', format: 'byte' },
  Q: { type: 'int-or-string', format: 'quantity' },
  I: { type: 'int-or-string', format: 'int-or-string' },
  T: { type: 'string', format: 'date-time' },
  M: { type: 'string', format: 'date-time' },
  J: ANY,
};

const made = new Map<string, TypeSchema>();

/** The schema of a built-in kind, apiVersion and kind included; undefined where the table has none. */
export function builtInSchema(group: string, version: string, kind: string): TypeSchema | undefined {
  const name = `${tableGroup(group)}.${version}.${kind}`;
  const key = `kind ${name}`;
  const known = made.get(key);
  if (known !== undefined) return known;
  const type = typeSchema(name);
  if (type === undefined) return undefined;
  const properties = new Map<string, TypeSchema>([
    ['apiVersion', SCALARS['s'] ?? ANY],
    ['kind', SCALARS['s'] ?? ANY],
    ...(type.properties ?? []),
  ]);
  const schema = { ...type, properties };
  made.set(key, schema);
  return schema;
}

/** The schema of a named type (`core.v1.PodSpec`). */
function typeSchema(name: string): TypeSchema | undefined {
  const known = made.get(name);
  if (known !== undefined) return known;
  const type = tableType(name);
  if (type === undefined) return undefined;
  const properties = new Map<string, TypeSchema>();
  for (const field of type.fields) {
    if (field.name !== '') properties.set(field.name, fieldSchema(field));
    else
      for (const [inner, schema] of typeSchema(field.type)?.properties ?? []) properties.set(inner, schema);
  }
  const schema: TypeSchema = {
    type: 'object',
    name,
    properties,
    required: type.required,
    ...(type.atomic ? { atomic: true } : {}),
  };
  made.set(name, schema);
  return schema;
}

function fieldSchema(field: TableField): TypeSchema {
  const value = SCALARS[field.type] ?? typeSchema(field.type) ?? ANY;
  const patch = {
    ...(field.patchMergeKey === undefined ? {} : { patchMergeKey: field.patchMergeKey }),
    ...(field.retainKeys ? { retainKeys: true } : {}),
  };
  if (field.container === 'map') {
    const values: TypeSchema = field.listOfValues
      ? { type: 'array', items: value, listType: 'atomic' }
      : value;
    return { type: 'object', values, ...(field.atomic ? { atomic: true } : {}) };
  }
  if (field.container === 'list') {
    return {
      type: 'array',
      items: value,
      listType: field.listType ?? 'atomic',
      listKeys: field.listKeys,
      keyDefaults: field.keyDefaults,
      ...patch,
    };
  }
  return field.atomic || field.retainKeys
    ? { ...value, ...patch, ...(field.atomic ? { atomic: true } : {}) }
    : value;
}
