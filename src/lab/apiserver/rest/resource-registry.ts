import { type ResourceDefinition, apiVersionOf } from '../kinds/resource-definition.ts';

/** Every kind that is served now; custom resources come and go. */
export class ResourceRegistry {
  readonly #definitions = new Map<string, ResourceDefinition>();
  readonly #listeners = new Set<() => void>();

  add(definition: ResourceDefinition): void {
    this.#definitions.set(path(definition.group, definition.version, definition.resource), definition);
    this.#changed();
  }

  remove(definition: ResourceDefinition): void {
    this.#definitions.delete(path(definition.group, definition.version, definition.resource));
    this.#changed();
  }

  find(group: string, version: string, resource: string): ResourceDefinition | undefined {
    return this.#definitions.get(path(group, version, resource));
  }

  /** The kind that an apiVersion and kind in a manifest name. */
  findKind(apiVersion: string, kind: string): ResourceDefinition | undefined {
    for (const definition of this.#definitions.values()) {
      if (definition.kind === kind && apiVersionOf(definition) === apiVersion) return definition;
    }
    return undefined;
  }

  all(): IterableIterator<ResourceDefinition> {
    return this.#definitions.values();
  }

  /** One definition per store: its storage version. */
  stored(): ResourceDefinition[] {
    return [...this.#definitions.values()].filter((one) => apiVersionOf(one) === one.storageApiVersion);
  }

  hasGroupVersion(group: string, version: string): boolean {
    for (const one of this.#definitions.values()) {
      if (one.group === group && one.version === version) return true;
    }
    return false;
  }

  /** Called after every change of the set of kinds. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

function path(group: string, version: string, resource: string): string {
  return `${group}/${version}/${resource}`;
}
