import type { CustomResourceDefinition } from 'kubernetes-types/apiextensions/v1.js';
import { Informer } from '../../cluster/informer.ts';
import {
  apiVersionOf,
  CLUSTER_ROLE_BINDINGS,
  CLUSTER_ROLES,
  CONFIG_MAPS,
  CUSTOM_RESOURCE_DEFINITIONS,
  DAEMON_SETS,
  DEPLOYMENTS,
  ENDPOINT_SLICES,
  ENDPOINTS,
  INGRESS_CLASSES,
  INGRESSES,
  LEASES,
  NAMESPACES,
  NETWORK_POLICIES,
  NODES,
  PODS,
  REPLICA_SETS,
  type ResourceType,
  ROLE_BINDINGS,
  ROLES,
  SECRETS,
  SERVICE_ACCOUNTS,
  SERVICES,
} from '../../cluster/resource-type.ts';
import type { ControllerContext } from './context.ts';
import { type OwnedObject, ownedObject } from './owner-graph.ts';

const BUILT_IN: readonly ResourceType[] = [
  NODES,
  NAMESPACES,
  PODS,
  SERVICES,
  ENDPOINTS,
  ENDPOINT_SLICES,
  CONFIG_MAPS,
  SECRETS,
  SERVICE_ACCOUNTS,
  LEASES,
  DEPLOYMENTS,
  REPLICA_SETS,
  DAEMON_SETS,
  NETWORK_POLICIES,
  INGRESSES,
  INGRESS_CLASSES,
  ROLES,
  ROLE_BINDINGS,
  CLUSTER_ROLES,
  CLUSTER_ROLE_BINDINGS,
  CUSTOM_RESOURCE_DEFINITIONS,
];

export type OwnedChange = (now: OwnedObject | undefined, before: OwnedObject | undefined) => void;

/** Follows the metadata of all objects of all types, those of CustomResourceDefinitions as they come and go. */
export class CollectedTypes {
  readonly #context: ControllerContext;
  readonly #changed: OwnedChange;
  readonly #byKind = new Map<string, ResourceType>();
  readonly #custom = new Map<string, AbortController>();

  constructor(context: ControllerContext, changed: OwnedChange) {
    this.#context = context;
    this.#changed = changed;
    for (const type of BUILT_IN) context.follow(this.#informer(type));
    const definitions = new Informer(context.client, CUSTOM_RESOURCE_DEFINITIONS, {
      project: customType,
      logger: context.logger,
    });
    definitions.subscribe({
      added: (type, key) => this.#begin(key, type),
      updated: (type, _, key) => this.#begin(key, type),
      deleted: (_, key) => this.#end(key),
    });
    context.follow(definitions);
  }

  all(): ResourceType[] {
    return [...this.#byKind.values()];
  }

  find(apiVersion: string, kind: string): ResourceType | undefined {
    return this.#byKind.get(`${apiVersion}/${kind}`);
  }

  #informer(type: ResourceType): Informer<object, OwnedObject> {
    this.#byKind.set(`${apiVersionOf(type)}/${type.kind}`, type);
    const { client, logger } = this.#context;
    const informer = new Informer<object, OwnedObject>(client, type, {
      project: (object) => ownedObject(type, object),
      logger,
    });
    informer.subscribe({
      added: (object) => this.#changed(object, undefined),
      updated: (object, old) => {
        // Deleted and made again while nobody looked.
        if (object.uid !== old.uid) this.#changed(undefined, old);
        this.#changed(object, old);
      },
      deleted: (old) => this.#changed(undefined, old),
    });
    return informer;
  }

  #begin(definition: string, type: ResourceType | undefined): void {
    if (type === undefined || this.#custom.has(definition)) return;
    const abort = new AbortController();
    this.#custom.set(definition, abort);
    const signal = AbortSignal.any([abort.signal, this.#context.signal]);
    // Ends with the definition or the controllers; never rejects.
    void this.#informer(type).run(signal);
  }

  #end(definition: string): void {
    this.#custom.get(definition)?.abort();
    this.#custom.delete(definition);
    for (const [kind, type] of this.#byKind) {
      if (`${type.plural}.${type.group}` === definition) this.#byKind.delete(kind);
    }
  }
}

/** The type that an established definition serves, in its stored version. */
function customType(definition: CustomResourceDefinition): ResourceType | undefined {
  const { group, names, scope, versions } = definition.spec;
  const isEstablished = definition.status?.conditions?.some(
    ({ type, status }) => type === 'Established' && status === 'True',
  );
  const version =
    versions.find(({ storage, served }) => storage && served) ?? versions.find(({ served }) => served);
  if (isEstablished !== true || version === undefined) return undefined;
  return {
    group,
    version: version.name,
    plural: names.plural,
    kind: names.kind,
    namespaced: scope === 'Namespaced',
  };
}
