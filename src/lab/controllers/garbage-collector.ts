import type { OwnerReference } from 'kubernetes-types/meta/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import type { CollectedTypes } from './collected-types.ts';
import type { ControllerContext } from './context.ts';
import type { OwnedObject, OwnerGraph } from './owner-graph.ts';

const FOREGROUND = 'foregroundDeletion';
const ORPHAN = 'orphan';

/** Deletes what nobody owns any more, and carries out foreground deletion and orphaning. */
export class GarbageCollector {
  readonly #context: ControllerContext;
  readonly #graph: OwnerGraph;
  readonly #types: () => CollectedTypes;
  readonly #enqueue: (uid: string) => void;

  constructor(
    context: ControllerContext,
    graph: OwnerGraph,
    types: () => CollectedTypes,
    enqueue: (uid: string) => void,
  ) {
    this.#context = context;
    this.#graph = graph;
    this.#types = types;
    this.#enqueue = enqueue;
  }

  /** Queues what a change of one object makes worth a look. */
  changed(now: OwnedObject | undefined, before: OwnedObject | undefined): void {
    if (now !== undefined) {
      if (isWaiting(now) || isOrphaning(now) || now.owners.some((owner) => this.#isDoubtful(owner))) {
        this.#enqueue(now.uid);
      }
    } else if (before !== undefined) {
      for (const dependent of this.#graph.dependentsOf(before.uid)) this.#enqueue(dependent.uid);
    }
    for (const { uid } of before?.owners ?? []) {
      const owner = this.#graph.get(uid);
      if (owner !== undefined && isWaiting(owner)) this.#enqueue(uid);
    }
  }

  async process(uid: string): Promise<void> {
    const object = this.#graph.get(uid);
    if (object === undefined) return;
    if (isOrphaning(object)) await this.#orphanDependents(object);
    else if (isWaiting(object)) await this.#deleteDependents(object);
    if (!object.isDeleting && object.owners.length > 0) await this.#judge(object);
  }

  #isDoubtful({ uid }: OwnerReference): boolean {
    const owner = this.#graph.get(uid);
    return owner === undefined || isWaiting(owner);
  }

  async #judge(object: OwnedObject): Promise<void> {
    const solid: OwnerReference[] = [];
    let isAwaited = false;
    for (const reference of object.owners) {
      const owner = this.#graph.get(reference.uid);
      if (owner !== undefined && isWaiting(owner)) isAwaited = true;
      else if (owner !== undefined || (await this.#exists(object, reference))) solid.push(reference);
    }
    if (solid.length === object.owners.length) return;
    if (solid.length > 0) await this.#setOwners(object, solid);
    else await this.#delete(object, isAwaited);
  }

  /** Asks the server: the watch may be behind, or the owner of a type that is not followed. */
  async #exists(object: OwnedObject, reference: OwnerReference): Promise<boolean> {
    const { client, signal, logger } = this.#context;
    const type = this.#types().find(reference.apiVersion, reference.kind);
    if (type === undefined) {
      logger.debug({ object: object.ref, owner: reference }, 'kind of an owner is unknown; object is kept');
      return true;
    }
    const namespace = type.namespaced ? object.ref.namespace : undefined;
    try {
      const owner = await client.get(type, { name: reference.name, namespace }, { signal });
      return owner.metadata?.uid === reference.uid;
    } catch (error) {
      if (hasStatus(error, 404)) return false;
      throw error;
    }
  }

  async #delete(object: OwnedObject, isAwaited: boolean): Promise<void> {
    const { client, signal } = this.#context;
    const hasDependents = this.#graph.dependentsOf(object.uid).length > 0;
    await unlessGone(
      client.delete(object.type, object.ref, {
        signal,
        // Whoever waits for this object in the foreground waits for what it owns, too.
        propagationPolicy: isAwaited && hasDependents ? 'Foreground' : 'Background',
        preconditions: { uid: object.uid },
      }),
    );
  }

  async #deleteDependents(owner: OwnedObject): Promise<void> {
    const dependents = this.#graph.dependentsOf(owner.uid);
    for (const dependent of dependents) if (!dependent.isDeleting) this.#enqueue(dependent.uid);
    const isBlocked = dependents.some((dependent) =>
      dependent.owners.some(
        ({ uid, blockOwnerDeletion }) => uid === owner.uid && blockOwnerDeletion === true,
      ),
    );
    if (!isBlocked) await this.#dropFinalizer(owner, FOREGROUND);
  }

  async #orphanDependents(owner: OwnedObject): Promise<void> {
    for (const dependent of this.#graph.dependentsOf(owner.uid)) {
      await this.#setOwners(
        dependent,
        dependent.owners.filter(({ uid }) => uid !== owner.uid),
      );
    }
    await this.#dropFinalizer(owner, ORPHAN);
  }

  async #setOwners(object: OwnedObject, ownerReferences: readonly OwnerReference[]): Promise<void> {
    await this.#patchMetadata(object, { ownerReferences });
  }

  async #dropFinalizer(object: OwnedObject, finalizer: string): Promise<void> {
    await this.#patchMetadata(object, { finalizers: object.finalizers.filter((name) => name !== finalizer) });
  }

  /** With the version the decision was made on: a conflict comes back and is decided anew. */
  async #patchMetadata(object: OwnedObject, fields: object): Promise<void> {
    const { client, signal } = this.#context;
    const body = { metadata: { uid: object.uid, resourceVersion: object.resourceVersion, ...fields } };
    try {
      await client.patch(object.type, object.ref, { type: 'merge', body }, { signal });
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
    }
  }
}

/** Gone already, or another object of the same name by now. */
async function unlessGone(deletion: Promise<unknown>): Promise<void> {
  try {
    await deletion;
  } catch (error) {
    if (!hasStatus(error, 404) && !hasStatus(error, 409)) throw error;
  }
}

const isWaiting = (object: OwnedObject): boolean =>
  object.isDeleting && object.finalizers.includes(FOREGROUND);
const isOrphaning = (object: OwnedObject): boolean => object.isDeleting && object.finalizers.includes(ORPHAN);
