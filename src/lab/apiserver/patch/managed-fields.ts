import { isObject, type Json, type JsonObject, objectsAt, stringAt } from '../json/json.ts';
import { type KubeObject, kubeTime } from '../json/kube-object.ts';
import type { TypeSchema } from '../schema/type-schema.ts';
import { FieldSet } from './field-set.ts';
import { changedFields, fieldSetOf } from './field-walk.ts';

/** One entry of metadata.managedFields. */
export interface FieldOwner {
  readonly manager: string;
  readonly operation: 'Apply' | 'Update';
  readonly apiVersion: string;
  readonly subresource: string;
  readonly time: string;
  readonly fields: FieldSet;
}

/** Members of metadata that nobody owns. */
const UNOWNED_METADATA = [
  'name',
  'namespace',
  'uid',
  'resourceVersion',
  'generation',
  'creationTimestamp',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'selfLink',
  'managedFields',
];

/** The object without what cannot be owned; with a status subresource, without the other part. */
export function ownablePart(
  object: KubeObject,
  hasStatus: boolean,
  subresource: string | undefined,
): JsonObject {
  const { apiVersion: _, kind: __, metadata, ...rest } = object;
  const owned: JsonObject = {};
  for (const [member, value] of Object.entries(metadata))
    if (!UNOWNED_METADATA.includes(member)) owned[member] = value;
  const result: JsonObject = { ...rest };
  if (hasStatus && subresource === undefined) delete result['status'];
  if (subresource === 'status') return { status: rest['status'] ?? {} };
  if (Object.keys(owned).length > 0) result['metadata'] = owned;
  return result;
}

export function readOwners(object: KubeObject): FieldOwner[] {
  return objectsAt(object, 'metadata', 'managedFields').map((entry) => ({
    manager: stringAt(entry, 'manager') ?? '',
    operation: entry['operation'] === 'Apply' ? 'Apply' : 'Update',
    apiVersion: stringAt(entry, 'apiVersion') ?? '',
    subresource: stringAt(entry, 'subresource') ?? '',
    time: stringAt(entry, 'time') ?? '',
    fields: FieldSet.fromFieldsV1(entry['fieldsV1']),
  }));
}

export function writeOwners(object: KubeObject, owners: readonly FieldOwner[]): void {
  const entries = owners
    .filter((owner) => !owner.fields.isEmpty)
    .map((owner): Json => {
      const entry: JsonObject = {
        manager: owner.manager,
        operation: owner.operation,
        apiVersion: owner.apiVersion,
        time: owner.time,
        fieldsType: 'FieldsV1',
        fieldsV1: owner.fields.toFieldsV1(),
      };
      if (owner.subresource !== '') entry['subresource'] = owner.subresource;
      return entry;
    });
  if (entries.length === 0) delete object.metadata['managedFields'];
  else object.metadata['managedFields'] = entries;
}

export function isSameOwner(
  a: FieldOwner,
  b: Pick<FieldOwner, 'manager' | 'operation' | 'subresource'>,
): boolean {
  return a.manager === b.manager && a.operation === b.operation && a.subresource === b.subresource;
}

/** Replaces or adds one owner; its time stays when nothing changed. */
export function withOwner(owners: readonly FieldOwner[], owner: Omit<FieldOwner, 'time'>): FieldOwner[] {
  const before = owners.find((one) => isSameOwner(one, owner));
  const time = before?.fields.equals(owner.fields) === true ? before.time : kubeTime(new Date());
  return [...owners.filter((one) => !isSameOwner(one, owner)), { ...owner, time }];
}

interface UpdateFacts {
  readonly manager: string;
  readonly apiVersion: string;
  readonly subresource: string | undefined;
  readonly schema: TypeSchema | undefined;
}

/**
 * After a change that was not an apply: who made it owns what changed, nobody owns what is gone. Objects that were
 * never applied on the server carry no managedFields: whoever applies first finds all fields owned by
 * `before-first-apply`, as in kube-apiserver for objects from before server-side apply.
 */
export function trackUpdate(object: KubeObject, old: KubeObject, facts: UpdateFacts): void {
  const reset = object.metadata['managedFields'];
  if (Array.isArray(reset) && reset.every((one) => !isObject(one) || Object.keys(one).length === 0)) {
    delete object.metadata['managedFields'];
    return;
  }
  const owners = ownersBefore(object, old, facts.subresource);
  if (owners.length === 0) return;
  const after = ownablePart(object, false, undefined);
  const changed = changedFields(ownablePart(old, false, undefined), after, facts.schema);
  const present = fieldSetOf(after, facts.schema);
  const kept = owners.map((owner) => ({ ...owner, fields: owner.fields.intersect(present).minus(changed) }));
  if (changed.isEmpty) {
    writeOwners(object, kept);
    return;
  }
  const me = { manager: facts.manager, operation: 'Update', subresource: facts.subresource ?? '' } as const;
  const mine = new FieldSet();
  mine.add(kept.find((owner) => isSameOwner(owner, me))?.fields ?? new FieldSet());
  mine.add(changed);
  writeOwners(object, withOwner(kept, { ...me, apiVersion: facts.apiVersion, fields: mine }));
}

/**
 * Clients may hand fields from one manager to another by writing managedFields, as kubectl does when it goes over
 * from client-side to server-side apply; what a client leaves out or cannot be read is as it was.
 */
function ownersBefore(object: KubeObject, old: KubeObject, subresource: string | undefined): FieldOwner[] {
  const written = subresource === undefined ? readOwners(object) : [];
  return written.some(({ fields }) => !fields.isEmpty) ? written : readOwners(old);
}

/** The owners of an object; one that was never applied belongs, as a whole, to before-first-apply. */
export function ownersOf(object: KubeObject, schema: TypeSchema | undefined): FieldOwner[] {
  const owners = readOwners(object);
  if (owners.length > 0) return owners;
  const fields = fieldSetOf(ownablePart(object, false, undefined), schema);
  return [
    {
      manager: 'before-first-apply',
      operation: 'Update',
      apiVersion: object.apiVersion,
      subresource: '',
      time: object.metadata.creationTimestamp ?? '',
      fields,
    },
  ];
}
