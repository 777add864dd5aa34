import { equalJson, numberAt, stringAt } from '../json/json.ts';
import { type KubeObject, kubeTime } from '../json/kube-object.ts';
import { conflict } from '../json/status-error.ts';
import { parseStored, type StoredObject, toStored } from '../store/stored-object.ts';
import { getStored } from './object-reader.ts';
import type { ObjectWriter, WriteTarget } from './object-writer.ts';
import type { DeleteOptions } from './write-options.ts';

const DEFAULT_POD_GRACE_SECONDS = 30;

export interface Removal {
  readonly object: StoredObject;
  /** False while finalizers or the grace period keep the object. */
  readonly gone: boolean;
}

/** Deletes as the REST conventions say: preconditions, grace, finalizers, propagation. */
export function removeObject(
  writer: ObjectWriter,
  target: WriteTarget,
  name: string,
  options: DeleteOptions,
): Removal {
  const { definition, namespace } = target;
  const stored = getStored(definition, namespace, name);
  const object = parseStored(stored);
  checkPreconditions(target, object, options);
  writer.admitDelete(target, object);
  const before = parseStored(stored);
  setFinalizers(object, options);
  const grace = gracePeriod(object, options);
  const held = (object.metadata.finalizers?.length ?? 0) > 0 || holdsNamespace(object);
  if (!held && grace === 0) {
    if (target.dryRun) return { object: stored, gone: true };
    return { object: writer.remove(definition, object), gone: true };
  }
  markDeleted(object, grace);
  if (target.dryRun || equalJson(object, before))
    return { object: toStored(object, stored.revision, {}), gone: false };
  return { object: definition.store.put(object), gone: false };
}

function checkPreconditions(target: WriteTarget, object: KubeObject, options: DeleteOptions): void {
  const { group, resource } = target.definition;
  const { name = '', uid = '', resourceVersion = '' } = object.metadata;
  if (options.uid !== undefined && options.uid !== uid) {
    throw conflict(
      group,
      resource,
      name,
      `Precondition failed: UID in precondition: ${options.uid}, UID in object meta: ${uid}`,
    );
  }
  if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion) {
    throw conflict(
      group,
      resource,
      name,
      `Precondition failed: ResourceVersion in precondition: ${options.resourceVersion}, ResourceVersion in object meta: ${resourceVersion}`,
    );
  }
}

/** The garbage collector acts on these two; without a policy nothing is added (background). */
function setFinalizers(object: KubeObject, options: DeleteOptions): void {
  if (options.propagation === undefined) return;
  const others = (object.metadata.finalizers ?? []).filter(
    (one) => one !== 'foregroundDeletion' && one !== 'orphan',
  );
  if (options.propagation === 'Foreground') others.push('foregroundDeletion');
  if (options.propagation === 'Orphan') others.push('orphan');
  if (others.length === 0) delete object.metadata.finalizers;
  else object.metadata.finalizers = others;
}

/** Only pods have a grace period, and only while a kubelet has something to end. */
function gracePeriod(object: KubeObject, options: DeleteOptions): number {
  if (object.kind !== 'Pod') return 0;
  const phase = stringAt(object, 'status', 'phase');
  if (stringAt(object, 'spec', 'nodeName') === undefined || phase === 'Succeeded' || phase === 'Failed')
    return 0;
  const asked =
    options.gracePeriodSeconds ??
    numberAt(object, 'spec', 'terminationGracePeriodSeconds') ??
    DEFAULT_POD_GRACE_SECONDS;
  const present = object.metadata.deletionGracePeriodSeconds;
  // A grace period that runs can be made shorter, never longer.
  return Math.max(0, present === undefined ? asked : Math.min(asked, present));
}

function markDeleted(object: KubeObject, grace: number): void {
  const { metadata } = object;
  if (metadata.deletionTimestamp === undefined || grace < (metadata.deletionGracePeriodSeconds ?? 0)) {
    metadata.deletionTimestamp = kubeTime(new Date(Date.now() + grace * 1000));
    metadata.deletionGracePeriodSeconds = grace;
    if (metadata.generation !== undefined) metadata.generation += 1;
  }
  if (object.kind === 'Namespace') object['status'] = { phase: 'Terminating' };
}

function holdsNamespace(object: KubeObject): boolean {
  const spec = object['spec'] as { finalizers?: unknown[] } | undefined;
  return object.kind === 'Namespace' && (spec?.finalizers?.length ?? 0) > 0;
}
