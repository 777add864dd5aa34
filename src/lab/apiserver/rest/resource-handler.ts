import { mediaType, parseObjectBody, readBody } from '../http/body.ts';
import { type Call, renderingOf, sendText } from '../http/call.ts';
import type { JsonObject } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { badRequest, methodNotAllowed } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { patchObject } from '../patch/patch-object.ts';
import { checkFields } from '../schema/field-validation.ts';
import { parseStored, storageKey, type StoredObject } from '../store/stored-object.ts';
import { pinnedName } from '../store/selectors.ts';
import { decodeBody } from './decode-body.ts';
import { type ListQuery, parseListQuery } from './list-query.ts';
import { getStored, selectPage, sendList } from './object-reader.ts';
import { removeObject } from './object-remover.ts';
import type { ObjectWriter, WriteTarget } from './object-writer.ts';
import { Renderer } from './renderer.ts';
import type { ResourcePath } from './request-info.ts';
import { serveWatch } from './watch-stream.ts';
import { parseDeleteOptions, parseWriteOptions } from './write-options.ts';

/** The verbs on a kind and on one object of it. */
export class ResourceHandler {
  readonly #writer: ObjectWriter;
  readonly #signal: AbortSignal;

  constructor(writer: ObjectWriter, signal: AbortSignal) {
    this.#writer = writer;
    this.#signal = signal;
  }

  async handle(call: Call, definition: ResourceDefinition, path: ResourcePath): Promise<void> {
    if (path.name === undefined) return this.#handleCollection(call, definition, path);
    switch (call.method) {
      case 'GET':
        return this.#get(call, definition, path.namespace, path.name);
      case 'PUT':
        return this.#replace(call, definition, path.namespace, path.name, path.subresource);
      case 'PATCH':
        return this.#patch(call, definition, path.namespace, path.name, path.subresource);
      case 'DELETE':
        return this.#delete(call, definition, path.namespace, path.name);
      default:
        throw methodNotAllowed();
    }
  }

  async #handleCollection(call: Call, definition: ResourceDefinition, path: ResourcePath): Promise<void> {
    switch (call.method) {
      case 'GET':
        return this.#list(call, definition, path.namespace);
      case 'POST':
        return this.#create(call, definition, path.namespace);
      case 'DELETE':
        return this.#deleteCollection(call, definition, path.namespace);
      default:
        throw methodNotAllowed();
    }
  }

  #get(call: Call, definition: ResourceDefinition, namespace: string, name: string): void {
    const renderer = new Renderer(definition, renderingOf(call), call.query.get('includeObject'));
    const stored = getStored(definition, namespace, name);
    sendText(call.response, 200, `${renderer.object(stored)}\n`);
  }

  async #list(call: Call, definition: ResourceDefinition, namespace: string): Promise<void> {
    const query = parseListQuery(call.query, definition);
    const renderer = new Renderer(definition, renderingOf(call), call.query.get('includeObject'));
    if (query.watch) serveWatch(call, renderer, namespace, query, this.#signal);
    else await sendList(call, renderer, this.#page(call, definition, namespace, query));
  }

  /** A list of one name is a look-up. */
  #page(
    call: Call,
    definition: ResourceDefinition,
    namespace: string,
    query: ListQuery,
  ): ReturnType<typeof selectPage> {
    const name = pinnedName(call.query.get('fieldSelector') ?? '');
    if (name === undefined || (namespace === '' && definition.namespaced)) {
      return selectPage(definition, namespace, query);
    }
    const stored = definition.store.get(storageKey(namespace, name));
    const items = stored !== undefined && query.matches?.(stored) !== false ? [stored] : [];
    return { items, metadata: { resourceVersion: String(definition.store.revision) } };
  }

  async #create(call: Call, definition: ResourceDefinition, namespace: string): Promise<void> {
    if (definition.namespaced && namespace === '') throw methodNotAllowed();
    const options = parseWriteOptions(call);
    const object = decodeBody(definition, await this.#body(call), { namespace, name: undefined });
    checkFields(definition, object, options);
    const target = targetOf(call, definition, namespace, options.dryRun);
    const stored = this.#writer.create(target, toStorage(definition, object));
    this.#respond(call, definition, stored, 201);
  }

  async #replace(
    call: Call,
    definition: ResourceDefinition,
    namespace: string,
    name: string,
    subresource: string | undefined,
  ): Promise<void> {
    const options = parseWriteOptions(call);
    const object = decodeBody(definition, await this.#body(call), { namespace, name });
    checkFields(definition, object, options);
    const target = targetOf(call, definition, namespace, options.dryRun);
    const wanted = toStorage(definition, object);
    const known = definition.store.get(storageKey(namespace, name)) !== undefined;
    if (!known && subresource === undefined && definition.strategy.createOnUpdate === true) {
      delete wanted.metadata.resourceVersion;
      this.#respond(call, definition, this.#writer.create(target, wanted), 201);
      return;
    }
    const stored = this.#writer.update(target, name, () => wanted, subresource, options.fieldManager);
    this.#respond(call, definition, stored, 200);
  }

  async #patch(
    call: Call,
    definition: ResourceDefinition,
    namespace: string,
    name: string,
    subresource: string | undefined,
  ): Promise<void> {
    const options = parseWriteOptions(call);
    const body = await readBody(call.request);
    const target = targetOf(call, definition, namespace, options.dryRun);
    const result = patchObject(this.#writer, target, {
      name,
      subresource,
      mediaType: mediaType(call.request),
      body,
      options,
    });
    this.#respond(call, definition, result.stored, result.created ? 201 : 200);
  }

  async #delete(call: Call, definition: ResourceDefinition, namespace: string, name: string): Promise<void> {
    const options = parseDeleteOptions(call, await this.#optionalBody(call));
    const target = targetOf(call, definition, namespace, options.dryRun);
    const { object, gone } = removeObject(this.#writer, target, name, options);
    if (!gone || definition.kind === 'Pod') {
      this.#respond(call, definition, object, 200);
      return;
    }
    sendText(call.response, 200, `${JSON.stringify(deletedStatus(definition, object))}\n`);
  }

  async #deleteCollection(call: Call, definition: ResourceDefinition, namespace: string): Promise<void> {
    if (definition.namespaced && namespace === '') throw methodNotAllowed();
    const query = parseListQuery(call.query, definition);
    const options = parseDeleteOptions(call, await this.#optionalBody(call));
    const target = targetOf(call, definition, namespace, options.dryRun);
    const page = selectPage(definition, namespace, query);
    for (const stored of page.items) removeObject(this.#writer, target, stored.name, options);
    const renderer = new Renderer(definition, renderingOf(call), 'None');
    await sendList(call, renderer, page);
  }

  #respond(call: Call, definition: ResourceDefinition, stored: StoredObject, status: number): void {
    const renderer = new Renderer(definition, renderingOf(call), call.query.get('includeObject'));
    sendText(call.response, status, `${renderer.object(stored)}\n`);
  }

  async #body(call: Call): Promise<JsonObject> {
    return parseObjectBody(await readBody(call.request), mediaType(call.request));
  }

  async #optionalBody(call: Call): Promise<JsonObject | undefined> {
    const body = await readBody(call.request);
    return body.length === 0 ? undefined : parseObjectBody(body, mediaType(call.request));
  }
}

function targetOf(
  call: Call,
  definition: ResourceDefinition,
  namespace: string,
  dryRun: boolean,
): WriteTarget {
  if (definition.namespaced && namespace === '')
    throw badRequest('the server could not find the requested namespace');
  return { definition, namespace, user: call.user, dryRun };
}

function toStorage(definition: ResourceDefinition, object: KubeObject): KubeObject {
  return definition.conversion?.toStorage(object) ?? object;
}

function deletedStatus(definition: ResourceDefinition, stored: StoredObject): JsonObject {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    details: {
      name: stored.name,
      ...(definition.group === '' ? {} : { group: definition.group }),
      kind: definition.resource,
      uid: parseStored(stored).metadata.uid,
    },
  };
}
