import type { Json, JsonObject } from '../json/json.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import type { ResourceRegistry } from '../rest/resource-registry.ts';
import { type Subresource, subresourcesOf, VIRTUAL_KINDS } from './subresources.ts';

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

type AggregatedVersion = 'v2' | 'v2beta1';

/** What the discovery paths answer; made anew when custom resources come or go. */
export class ApiDiscovery {
  readonly #registry: ResourceRegistry;
  readonly #cache = new Map<string, JsonObject>();

  constructor(registry: ResourceRegistry) {
    this.#registry = registry;
    registry.onChange(() => this.#cache.clear());
  }

  /** `/api`, unaggregated. */
  coreVersions(): JsonObject {
    return {
      kind: 'APIVersions',
      versions: ['v1'],
      serverAddressByClientCIDRs: [],
    };
  }

  /** `/apis`, unaggregated. */
  groupList(): JsonObject {
    const groups = this.#groups()
      .filter(([group]) => group !== '')
      .map(([group]) => this.group(group) ?? {});
    return {
      kind: 'APIGroupList',
      apiVersion: 'v1',
      groups: groups.map((one) => ({ ...one, kind: undefined, apiVersion: undefined })),
    };
  }

  /** `/apis/GROUP`. */
  group(group: string): JsonObject | undefined {
    const versions = this.#groups().find(([name]) => name === group)?.[1];
    if (versions === undefined) return undefined;
    const entries = versions.map((version): JsonObject => ({ groupVersion: `${group}/${version}`, version }));
    return {
      kind: 'APIGroup',
      apiVersion: 'v1',
      name: group,
      versions: entries,
      preferredVersion: entries[0],
    };
  }

  /** `/api/v1` and `/apis/GROUP/VERSION`. */
  resourceList(group: string, version: string): JsonObject | undefined {
    return this.#cached(`list ${group}/${version}`, () => {
      const resources: Json[] = [];
      for (const one of this.#inVersion(group, version)) {
        resources.push(resourceEntry(one));
        for (const sub of subresourcesOf(one)) resources.push(subresourceEntry(one, sub));
      }
      for (const one of VIRTUAL_KINDS) {
        if (one.group !== group || one.version !== version) continue;
        const { resource: name, singular: singularName, kind, namespaced } = one;
        resources.push({ name, singularName, namespaced, kind, verbs: ['create'] });
      }
      if (resources.length === 0) return undefined;
      const groupVersion = group === '' ? version : `${group}/${version}`;
      return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources };
    });
  }

  /** `/api` or `/apis` as one aggregated document (apidiscovery.k8s.io). */
  aggregated(root: 'api' | 'apis', version: AggregatedVersion): JsonObject {
    const made = this.#cached(`aggregated ${root} ${version}`, () => ({
      kind: 'APIGroupDiscoveryList',
      apiVersion: `apidiscovery.k8s.io/${version}`,
      metadata: {},
      items: this.#groups()
        .filter(([group]) => (group === '') === (root === 'api'))
        .map(([group, versions]) => ({
          metadata: { name: group, creationTimestamp: null },
          versions: versions.map((one) => ({
            version: one,
            resources: this.#aggregatedResources(group, one),
            freshness: 'Current',
          })),
        })),
    }));
    return made ?? {};
  }

  #aggregatedResources(group: string, version: string): Json[] {
    const resources: Json[] = this.#inVersion(group, version).map((one) => aggregatedEntry(one));
    for (const one of VIRTUAL_KINDS) {
      if (one.group !== group || one.version !== version) continue;
      resources.push({
        resource: one.resource,
        responseKind: responseKind(one),
        scope: one.namespaced ? 'Namespaced' : 'Cluster',
        singularResource: one.singular,
        verbs: ['create'],
      });
    }
    return resources;
  }

  #inVersion(group: string, version: string): ResourceDefinition[] {
    return [...this.#registry.all()].filter((one) => one.group === group && one.version === version);
  }

  /** Groups with their versions, the preferred one first. */
  #groups(): [group: string, versions: string[]][] {
    const groups = new Map<string, Set<string>>();
    for (const one of [...this.#registry.all(), ...VIRTUAL_KINDS]) {
      const versions = groups.get(one.group) ?? new Set();
      groups.set(one.group, versions.add(one.version));
    }
    return [...groups].map(([group, versions]) => [group, [...versions].sort(comparePriority)]);
  }

  #cached(key: string, make: () => JsonObject | undefined): JsonObject | undefined {
    const known = this.#cache.get(key);
    if (known !== undefined) return known;
    const made = make();
    if (made !== undefined) this.#cache.set(key, made);
    return made;
  }
}

/** Kubernetes' order of versions: v2 before v1 before v1beta2 before v1beta1 before v1alpha1, then by name. */
function comparePriority(a: string, b: string): number {
  const left = versionRank(a);
  const right = versionRank(b);
  for (const [i, rank] of left.entries()) {
    const difference = (right[i] ?? 0) - rank;
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : 1;
}

function versionRank(version: string): number[] {
  const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
  if (match === null) return [-1, 0, 0];
  const stability = match[2] === undefined ? 2 : match[2] === 'beta' ? 1 : 0;
  return [stability, Number(match[1]), Number(match[3] ?? 0)];
}

function responseKind(one: { group: string; version: string; kind: string }): JsonObject {
  return { group: one.group, version: one.version, kind: one.kind };
}

function resourceEntry(one: ResourceDefinition): JsonObject {
  return {
    name: one.resource,
    singularName: one.singular,
    namespaced: one.namespaced,
    kind: one.kind,
    verbs: VERBS,
    ...(one.shortNames.length > 0 ? { shortNames: [...one.shortNames] } : {}),
    ...(one.categories.length > 0 ? { categories: [...one.categories] } : {}),
    storageVersionHash: Buffer.from(`${one.storageApiVersion}/${one.kind}`).toString('base64').slice(0, 12),
  };
}

function subresourceEntry(one: ResourceDefinition, sub: Subresource): JsonObject {
  return {
    name: `${one.resource}/${sub.name}`,
    singularName: '',
    namespaced: one.namespaced,
    ...(sub.group === undefined ? {} : { group: sub.group, version: sub.version }),
    kind: sub.kind ?? one.kind,
    verbs: [...sub.verbs],
  };
}

function aggregatedEntry(one: ResourceDefinition): JsonObject {
  const subresources = subresourcesOf(one).map((sub): JsonObject => ({
    subresource: sub.name,
    responseKind: {
      group: sub.group ?? (sub.kind === undefined ? one.group : ''),
      version: sub.version ?? (sub.kind === undefined ? one.version : 'v1'),
      kind: sub.kind ?? one.kind,
    },
    verbs: [...sub.verbs],
  }));
  return {
    resource: one.resource,
    responseKind: responseKind(one),
    scope: one.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: one.singular,
    verbs: VERBS,
    ...(one.shortNames.length > 0 ? { shortNames: [...one.shortNames] } : {}),
    ...(one.categories.length > 0 ? { categories: [...one.categories] } : {}),
    ...(subresources.length > 0 ? { subresources } : {}),
  };
}
