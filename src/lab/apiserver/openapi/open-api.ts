import { createHash } from 'node:crypto';
import { SERVER_VERSION } from '../discovery/server-version.ts';
import type { JsonObject } from '../json/json.ts';
import { type ResourceDefinition, apiVersionOf } from '../kinds/resource-definition.ts';
import type { ResourceRegistry } from '../rest/resource-registry.ts';
import { SchemaWriter } from './schema-writer.ts';

/** The OpenAPI v3 documents: one index and one document per group and version. */
export class OpenApi {
  readonly #registry: ResourceRegistry;
  readonly #documents = new Map<string, string>();

  constructor(registry: ResourceRegistry) {
    this.#registry = registry;
    registry.onChange(() => this.#documents.clear());
  }

  /** `/openapi/v3`: where the documents are. The hash lets clients keep them. */
  index(): JsonObject {
    const paths: JsonObject = {};
    for (const one of this.#registry.all()) {
      const path = documentPath(one);
      paths[path] ??= { serverRelativeURL: `/openapi/v3/${path}?hash=${this.#hash(path)}` };
    }
    return { paths };
  }

  /** The names of what is served stand for the document, which is made only when it is asked for. */
  #hash(path: string): string {
    const kinds = this.#in(path).map((one) => `${one.kind} ${one.custom?.revision ?? ''}`);
    return createHash('sha256')
      .update(`${SERVER_VERSION.gitVersion} ${kinds.join(',')}`)
      .digest('hex')
      .toUpperCase();
  }

  #in(path: string): ResourceDefinition[] {
    return [...this.#registry.all()].filter((one) => documentPath(one) === path);
  }

  /** The document of `api/v1` or `apis/GROUP/VERSION`; undefined where nothing is served there. */
  document(path: string): string | undefined {
    const known = this.#documents.get(path);
    if (known !== undefined) return known;
    const definitions = this.#in(path);
    if (definitions.length === 0) return undefined;
    const writer = new SchemaWriter();
    const paths: JsonObject = {};
    for (const definition of definitions) Object.assign(paths, pathsOf(definition, writer));
    const text = JSON.stringify({
      openapi: '3.0.0',
      info: { title: 'Kubernetes', version: SERVER_VERSION.gitVersion },
      paths,
      components: { schemas: writer.components },
    });
    this.#documents.set(path, text);
    return text;
  }
}

function documentPath(definition: ResourceDefinition): string {
  const apiVersion = apiVersionOf(definition);
  return definition.group === '' ? `api/${apiVersion}` : `apis/${apiVersion}`;
}

/** The component of a kind; its name is put together from the group where no named type is known. */
function componentOf(definition: ResourceDefinition, writer: SchemaWriter): string {
  const { group, version, kind } = definition;
  const gvk: JsonObject = { group, version, kind };
  const schema = definition.schema();
  if (schema?.name !== undefined) return writer.add(schema, gvk);
  const name = [...group.split('.').reverse(), version, kind].filter((part) => part !== '').join('.');
  writer.components[name] = {
    ...(definition.custom?.openApi ?? { type: 'object' }),
    'x-kubernetes-group-version-kind': [gvk],
  };
  return name;
}

const FIELD_VALIDATION: JsonObject = {
  name: 'fieldValidation',
  in: 'query',
  schema: { type: 'string', uniqueItems: true },
};
const DRY_RUN: JsonObject = { name: 'dryRun', in: 'query', schema: { type: 'string', uniqueItems: true } };

/** kubectl looks here whether the server validates fields and knows dry runs. */
function pathsOf(definition: ResourceDefinition, writer: SchemaWriter): JsonObject {
  const { group, version, kind, resource } = definition;
  const content = {
    'application/json': { schema: { $ref: `#/components/schemas/${componentOf(definition, writer)}` } },
  };
  const operation = (action: string, writes: boolean): JsonObject => ({
    'x-kubernetes-action': action,
    'x-kubernetes-group-version-kind': { group, version, kind },
    ...(writes ? { parameters: [DRY_RUN, FIELD_VALIDATION], requestBody: { content } } : {}),
    responses: { '200': { description: 'OK', content } },
  });
  const base = `/${documentPath(definition)}/${definition.namespaced ? 'namespaces/{namespace}/' : ''}${resource}`;
  return {
    [base]: { get: operation('list', false), post: operation('post', true) },
    [`${base}/{name}`]: {
      get: operation('get', false),
      put: operation('put', true),
      patch: operation('patch', true),
      delete: operation('delete', false),
    },
  };
}
