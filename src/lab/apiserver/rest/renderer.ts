import type { Rendering } from '../http/negotiation.ts';
import type { Json, JsonObject } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { type ResourceDefinition, apiVersionOf } from '../kinds/resource-definition.ts';
import { parseStored, type StoredObject } from '../store/stored-object.ts';

/** How much of the object a table row carries. */
export type IncludeObject = 'None' | 'Metadata' | 'Object';

/** Turns stored objects into the text that one request asked for. */
export class Renderer {
  readonly definition: ResourceDefinition;
  readonly rendering: Rendering;
  readonly includeObject: IncludeObject;
  /** Equal for two renderers that write the same text. */
  readonly key: string;

  constructor(definition: ResourceDefinition, rendering: Rendering, includeObject: string | null) {
    this.definition = definition;
    this.rendering = rendering;
    this.includeObject = includeObject === 'None' || includeObject === 'Object' ? includeObject : 'Metadata';
    this.key = `${rendering.as} ${rendering.version} ${this.includeObject} ${apiVersionOf(definition)}`;
  }

  /** Whether stored text can be sent as it is. */
  get #verbatim(): boolean {
    return this.rendering.as === 'object' && this.definition.conversion === undefined;
  }

  /** One object as a response or as the object of a watch event. */
  object(stored: StoredObject, withColumns = true): string {
    if (this.#verbatim) return stored.text;
    const object = this.served(stored);
    if (this.rendering.as === 'object') return JSON.stringify(object);
    if (this.rendering.as === 'partial') return JSON.stringify(this.#partial(object));
    return JSON.stringify({
      kind: 'Table',
      apiVersion: `meta.k8s.io/${this.rendering.version}`,
      metadata: { resourceVersion: String(stored.revision) },
      columnDefinitions: withColumns ? this.#columnDefinitions() : null,
      rows: [this.#row(object, Date.now())],
    });
  }

  /** The object in the version that was asked for. */
  served(stored: StoredObject): KubeObject {
    const object = parseStored(stored);
    return this.definition.conversion?.fromStorage(object) ?? object;
  }

  /** The text before the items of a list, the text of one item, and what closes the list. */
  listHead(metadata: JsonObject): string {
    const { as, version } = this.rendering;
    const meta = JSON.stringify(metadata);
    if (as === 'table') {
      const columns = JSON.stringify(this.#columnDefinitions());
      return `{"kind":"Table","apiVersion":"meta.k8s.io/${version}","metadata":${meta},"columnDefinitions":${columns},"rows":[`;
    }
    const kind = as === 'partial' ? 'PartialObjectMetadataList' : `${this.definition.kind}List`;
    const apiVersion = as === 'partial' ? `meta.k8s.io/${version}` : apiVersionOf(this.definition);
    return `{"kind":"${kind}","apiVersion":"${apiVersion}","metadata":${meta},"items":[`;
  }

  listItem(stored: StoredObject, now: number): string {
    if (this.#verbatim) return stored.text;
    const object = this.served(stored);
    if (this.rendering.as === 'object') return JSON.stringify(object);
    return JSON.stringify(this.rendering.as === 'partial' ? this.#partial(object) : this.#row(object, now));
  }

  #partial(object: KubeObject): JsonObject {
    return {
      kind: 'PartialObjectMetadata',
      apiVersion: `meta.k8s.io/${this.rendering.version}`,
      metadata: object.metadata,
    };
  }

  #columnDefinitions(): Json[] {
    return this.definition.columns.columns.map((column) => ({
      name: column.name,
      type: column.type,
      format: column.format ?? (column.name === 'Name' ? 'name' : ''),
      description: column.description ?? '',
      priority: column.priority,
    }));
  }

  #row(object: KubeObject, now: number): JsonObject {
    const row: JsonObject = { cells: this.definition.columns.cells(object, now) };
    if (this.includeObject === 'Object') row['object'] = object;
    if (this.includeObject === 'Metadata') row['object'] = this.#partial(object);
    return row;
  }
}
