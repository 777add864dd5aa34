import { randomUUID } from 'node:crypto';
import type { AdmissionChain, Change } from '../admission/admission-plugin.ts';
import type { UserInfo } from '../auth/user-info.ts';
import { cloneJson, equalJson } from '../json/json.ts';
import { type KubeObject, kubeTime } from '../json/kube-object.ts';
import { alreadyExists, badRequest, type Cause, conflict, invalid } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { parseStored, storageKey, type StoredObject, toStored } from '../store/stored-object.ts';
import { validateMetadata, validateMetadataUpdate } from '../validation/metadata.ts';
import { trackUpdate } from '../patch/managed-fields.ts';
import { getStored } from './object-reader.ts';

const NAME_SUFFIX_ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';
/** kube-apiserver cuts the prefix so that the name with its suffix fits 63 characters. */
const MAX_GENERATED_PREFIX = 58;

export interface WriteTarget {
  readonly definition: ResourceDefinition;
  readonly namespace: string;
  readonly user: UserInfo;
  readonly dryRun: boolean;
}

/** Creates and changes objects: defaults, admission, validation, allocation, store. Objects in storage version. */
export class ObjectWriter {
  readonly #admission: AdmissionChain;

  constructor(admission: AdmissionChain) {
    this.#admission = admission;
  }

  create(target: WriteTarget, object: KubeObject): StoredObject {
    const { definition, namespace } = target;
    const { strategy, store } = definition;
    prepareNewMetadata(definition, namespace, object);
    const name = object.metadata.name ?? '';
    strategy.setDefaults?.(object);
    strategy.prepareForCreate?.(object);
    if (strategy.countsGenerations === true) object.metadata.generation = 1;
    const change = this.#change('create', target, name, object, undefined, undefined);
    this.#admission.admit(change);
    // Before validation, as kube-apiserver: a taken name is AlreadyExists even where the object is wrong.
    if (store.get(storageKey(namespace, name)) !== undefined) {
      throw alreadyExists(definition.group, definition.resource, name);
    }
    this.#validate(definition, object, undefined);
    return this.#commit(target, change);
  }

  /**
   * Changes an existing object. `next` gets a copy of the present state to change or replace; with a
   * subresource only that part of the result is taken. `fieldManager` owns what changes, unless the change itself
   * has said who owns what (server-side apply).
   */
  update(
    target: WriteTarget,
    name: string,
    next: (current: KubeObject) => KubeObject,
    subresource?: string,
    fieldManager?: string,
  ): StoredObject {
    const { definition, namespace } = target;
    const { strategy } = definition;
    const stored = getStored(definition, namespace, name);
    const old = parseStored(stored);
    const object = next(cloneJson(old));
    checkIdentity(definition, old, object);
    keepSystemMetadata(old, object);
    strategy.setDefaults?.(object);
    takePart(definition, object, old, subresource);
    if (subresource === undefined) strategy.prepareForUpdate?.(object, old);
    if (strategy.countsGenerations === true) countGeneration(object, old);
    const change = this.#change('update', target, name, object, old, subresource);
    this.#admission.admit(change);
    if (fieldManager !== undefined) {
      const { storageApiVersion: apiVersion, schema } = definition;
      trackUpdate(object, old, { manager: fieldManager, apiVersion, subresource, schema: schema() });
    }
    if (equalJson(object, old)) return stored;
    this.#validate(definition, object, old);
    if (finalized(object)) {
      if (!target.dryRun) this.remove(definition, object);
      return toStored(object, stored.revision, {});
    }
    return this.#commit(target, change);
  }

  /** Takes the object out of the store for good. */
  remove(definition: ResourceDefinition, object: KubeObject): StoredObject {
    const key = storageKey(object.metadata.namespace ?? '', object.metadata.name ?? '');
    const last = definition.store.delete(key, object);
    this.#admission.released(object, definition);
    return last;
  }

  admitDelete(target: WriteTarget, object: KubeObject): void {
    this.#admission.admit(
      this.#change('delete', target, object.metadata.name ?? '', object, object, undefined),
    );
  }

  #change(
    operation: Change['operation'],
    target: WriteTarget,
    name: string,
    object: KubeObject,
    old: KubeObject | undefined,
    subresource: string | undefined,
  ): Change {
    const { definition, namespace, user } = target;
    return { operation, definition, namespace, name, object, old, subresource, user };
  }

  #validate(definition: ResourceDefinition, object: KubeObject, old: KubeObject | undefined): void {
    const causes: Cause[] = [
      ...validateMetadata(definition, object),
      ...(old === undefined ? [] : validateMetadataUpdate(object, old)),
      ...(definition.strategy.validate?.(object, old) ?? []),
    ];
    if (causes.length > 0)
      throw invalid(definition.group, definition.kind, object.metadata.name ?? '', causes);
  }

  #commit(target: WriteTarget, change: Change): StoredObject {
    const reservation = this.#admission.reserve(change);
    if (target.dryRun) {
      reservation.rollback();
      const revision = Number(change.old?.metadata.resourceVersion ?? 0);
      const stored = toStored(change.object, revision, {});
      if (change.old !== undefined) return stored;
      delete change.object.metadata.resourceVersion;
      return { ...stored, text: JSON.stringify(change.object) };
    }
    const stored = target.definition.store.put(change.object);
    reservation.commit();
    return stored;
  }
}

function prepareNewMetadata(definition: ResourceDefinition, namespace: string, object: KubeObject): void {
  const { metadata } = object;
  if (metadata.resourceVersion !== undefined && metadata.resourceVersion !== '') {
    throw badRequest('resourceVersion should not be set on objects to be created');
  }
  if (metadata.name === undefined || metadata.name === '') {
    if (metadata.generateName === undefined || metadata.generateName === '') {
      throw invalid(definition.group, definition.kind, '', [
        {
          reason: 'FieldValueRequired',
          message: 'Required value: name or generateName is required',
          field: 'metadata.name',
        },
      ]);
    }
    metadata.name = generateName(metadata.generateName);
  }
  if (definition.namespaced) metadata.namespace = namespace;
  else delete metadata.namespace;
  delete metadata.deletionTimestamp;
  delete metadata.deletionGracePeriodSeconds;
  delete metadata.generation;
  delete metadata['selfLink'];
  metadata.uid = randomUUID();
  metadata.creationTimestamp = kubeTime(new Date());
}

function generateName(prefix: string): string {
  let suffix = '';
  for (let i = 0; i < 5; i += 1) {
    suffix += NAME_SUFFIX_ALPHABET[Math.floor(Math.random() * NAME_SUFFIX_ALPHABET.length)] ?? 'x';
  }
  return prefix.slice(0, MAX_GENERATED_PREFIX) + suffix;
}

function checkIdentity(definition: ResourceDefinition, old: KubeObject, object: KubeObject): void {
  const { group, resource } = definition;
  const name = old.metadata.name ?? '';
  const { resourceVersion, uid } = object.metadata;
  if (
    resourceVersion !== undefined &&
    resourceVersion !== '' &&
    resourceVersion !== old.metadata.resourceVersion
  ) {
    throw conflict(group, resource, name);
  }
  if (uid !== undefined && uid !== '' && uid !== old.metadata.uid) {
    throw conflict(
      group,
      resource,
      name,
      `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid ?? ''}`,
    );
  }
}

/** What no client may change. Clients may leave it out as well, so it is put back rather than compared. */
function keepSystemMetadata(old: KubeObject, object: KubeObject): void {
  for (const member of [
    'name',
    'namespace',
    'uid',
    'creationTimestamp',
    'resourceVersion',
    'generation',
    'deletionTimestamp',
    'deletionGracePeriodSeconds',
    'generateName',
  ]) {
    const value = old.metadata[member];
    if (value === undefined) delete object.metadata[member];
    else object.metadata[member] = value;
  }
  delete object.metadata['selfLink'];
  if (object.metadata['managedFields'] === undefined && old.metadata['managedFields'] !== undefined) {
    object.metadata['managedFields'] = old.metadata['managedFields'];
  }
}

/** `status` belongs to the status subresource, everything else to the object itself. */
function takePart(
  definition: ResourceDefinition,
  object: KubeObject,
  old: KubeObject,
  subresource: string | undefined,
): void {
  if (!definition.hasStatus) return;
  if (subresource === undefined) {
    if (old['status'] === undefined) delete object['status'];
    else object['status'] = old['status'];
  } else if (subresource === 'status') {
    for (const member of new Set([...Object.keys(object), ...Object.keys(old)])) {
      if (member === 'status' || member === 'metadata') continue;
      if (old[member] === undefined) delete object[member];
      else object[member] = old[member];
    }
  }
}

function countGeneration(object: KubeObject, old: KubeObject): void {
  if (!equalJson(countedPart(object), countedPart(old)))
    object.metadata.generation = (old.metadata.generation ?? 0) + 1;
}

/** What metadata.generation counts changes of. */
function countedPart(object: KubeObject): KubeObject {
  return { ...object, metadata: {}, status: undefined };
}

/** Deleted earlier, and the last finalizer has just gone: nothing holds the object any more. */
function finalized(object: KubeObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds, finalizers } = object.metadata;
  const specFinalizers = object.kind === 'Namespace' ? namespaceFinalizers(object) : 0;
  return (
    deletionTimestamp !== undefined &&
    (deletionGracePeriodSeconds ?? 0) === 0 &&
    (finalizers?.length ?? 0) === 0 &&
    specFinalizers === 0
  );
}

function namespaceFinalizers(object: KubeObject): number {
  const spec = object['spec'] as { finalizers?: unknown[] } | undefined;
  return spec?.finalizers?.length ?? 0;
}
