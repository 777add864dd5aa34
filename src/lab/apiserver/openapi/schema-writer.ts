import type { Json, JsonObject } from '../json/json.ts';
import type { TypeSchema } from '../schema/type-schema.ts';
import { describeType, type TypeDescription } from './descriptions.ts';

/** `core.v1.Pod` as OpenAPI documents of Kubernetes name it. */
function openApiName(name: string): string {
  if (name.startsWith('meta.')) return `io.k8s.apimachinery.pkg.apis.${name}`;
  return `io.k8s.api.${name}`;
}

/** Writes schemas of built-in types as OpenAPI 3.0 components; what they refer to comes along. */
export class SchemaWriter {
  readonly components: JsonObject = {};

  /** Adds a named type and returns the component's name. */
  add(schema: TypeSchema, asKind?: JsonObject): string {
    const name = openApiName(schema.name ?? '');
    if (this.components[name] === undefined) {
      const component: JsonObject = {};
      // Entered before its members are written, so that a type may refer to itself.
      this.components[name] = component;
      Object.assign(component, this.#object(schema, describeType(schema.name ?? '')));
      if (asKind !== undefined) component['x-kubernetes-group-version-kind'] = [asKind];
    }
    return name;
  }

  #object(schema: TypeSchema, description: TypeDescription | undefined): JsonObject {
    const properties: JsonObject = {};
    for (const [member, inner] of schema.properties ?? []) {
      properties[member] = this.#member(inner, description?.fields.get(member) ?? COMMON[member]);
    }
    return {
      ...(description === undefined ? {} : { description: description.text }),
      type: 'object',
      properties,
      ...(schema.required !== undefined && schema.required.length > 0
        ? { required: [...schema.required] }
        : {}),
      ...(schema.atomic === true ? { 'x-kubernetes-map-type': 'atomic' } : {}),
    };
  }

  #member(schema: TypeSchema, description: string | undefined): JsonObject {
    const written = this.#value(schema);
    return { ...(description === undefined ? {} : { description }), ...written, ...extensions(schema) };
  }

  #value(schema: TypeSchema): JsonObject {
    // A reference with siblings is wrapped, as OpenAPI 3.0 ignores what stands beside $ref.
    if (schema.name !== undefined) {
      return { allOf: [{ $ref: `#/components/schemas/${this.add(schema)}` }], default: {} };
    }
    switch (schema.type) {
      case 'array':
        return { type: 'array', items: this.#value(schema.items ?? { type: 'any' }) };
      case 'object':
        return {
          type: 'object',
          additionalProperties: schema.values === undefined ? true : this.#value(schema.values),
        };
      case 'int-or-string':
        return { oneOf: [{ type: 'string' }, { type: 'number' }], ...formatOf(schema) };
      case 'any':
        return { type: 'object' };
      case 'integer':
        return { type: 'integer', format: 'int32' };
      case 'string':
      case 'number':
      case 'boolean':
        return { type: schema.type, ...formatOf(schema) };
      default:
        return schema.type satisfies never;
    }
  }
}

function formatOf(schema: TypeSchema): JsonObject {
  return schema.format === undefined || schema.format === 'quantity' ? {} : { format: schema.format };
}

function extensions(schema: TypeSchema): Record<string, Json> {
  const result: Record<string, Json> = {};
  if (schema.listType !== undefined) result['x-kubernetes-list-type'] = schema.listType;
  if (schema.listKeys !== undefined && schema.listKeys.length > 0) {
    result['x-kubernetes-list-map-keys'] = [...schema.listKeys];
  }
  if (schema.patchMergeKey !== undefined) {
    result['x-kubernetes-patch-strategy'] = schema.retainKeys === true ? 'merge,retainKeys' : 'merge';
    if (schema.patchMergeKey !== '') result['x-kubernetes-patch-merge-key'] = schema.patchMergeKey;
  } else if (schema.retainKeys === true) result['x-kubernetes-patch-strategy'] = 'retainKeys';
  if (schema.atomic === true && schema.type === 'object') result['x-kubernetes-map-type'] = 'atomic';
  return result;
}

const COMMON: Readonly<Record<string, string>> = {
  apiVersion: 'Version of the schema that this object follows.',
  kind: 'Name of the kind that this object is.',
};
