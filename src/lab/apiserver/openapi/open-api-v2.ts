import { SERVER_VERSION } from '../discovery/server-version.ts';
import { type ResourceDefinition, apiVersionOf } from '../kinds/resource-definition.ts';
import type { ResourceRegistry } from '../rest/resource-registry.ts';

// kubectl before 1.28 reads OpenAPI v2 before anything else, and only as protobuf (gnostic's openapi.v2.Document),
// to find out whether the server validates fields. So this document has the patch operations and no schemas:
// those are in OpenAPI v3.

export const OPEN_API_V2_PROTOBUF = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** A length-delimited field; text or nested messages. */
function field(number: number, ...content: readonly (string | Buffer)[]): Buffer {
  const body = Buffer.concat(content.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)));
  return Buffer.concat([varint(number * 8 + 2), varint(body.length), body]);
}

/** Parameter -> NonBodyParameter -> QueryParameterSubSchema with `in`, `name` and `type`. */
function queryParameter(name: string): Buffer {
  return field(8, field(1, field(2, field(3, field(2, 'query'), field(4, name), field(6, 'string')))));
}

function patchOperation({ group, version, kind }: ResourceDefinition): Buffer {
  const gvk = `group: ${JSON.stringify(group)}\nkind: ${kind}\nversion: ${version}\n`;
  return field(
    8,
    queryParameter('dryRun'),
    queryParameter('fieldManager'),
    queryParameter('fieldValidation'),
    field(13, field(1, 'x-kubernetes-group-version-kind'), field(2, field(2, gvk))),
    field(13, field(1, 'x-kubernetes-action'), field(2, field(2, 'patch\n'))),
  );
}

function pathItem(definition: ResourceDefinition): Buffer {
  const root = definition.group === '' ? 'api' : 'apis';
  const namespace = definition.namespaced ? 'namespaces/{namespace}/' : '';
  const path = `/${root}/${apiVersionOf(definition)}/${namespace}${definition.resource}/{name}`;
  return field(2, field(1, path), field(2, patchOperation(definition)));
}

/** `/openapi/v2` in protobuf. */
export function openApiV2(registry: ResourceRegistry): Buffer {
  return Buffer.concat([
    field(1, '2.0'),
    field(2, field(1, 'Kubernetes'), field(2, SERVER_VERSION.gitVersion)),
    field(8, ...[...registry.all()].map(pathItem)),
    field(9),
  ]);
}
