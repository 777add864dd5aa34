import { cloneJson, equalJson, type Json, stringAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { type Cause, StatusError } from '../json/status-error.ts';
import type { TypeSchema } from '../schema/type-schema.ts';
import { FieldSet, pathText } from './field-set.ts';
import { fieldSetOf, mergeApplied, pruneFields, valueAtSteps } from './field-walk.ts';
import {
  type FieldOwner,
  isSameOwner,
  ownablePart,
  ownersOf,
  withOwner,
  writeOwners,
} from './managed-fields.ts';

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

export interface ApplyRequest {
  readonly manager: string;
  readonly force: boolean;
  readonly hasStatus: boolean;
  readonly subresource: string | undefined;
  readonly schema: TypeSchema | undefined;
}

/**
 * Server-side apply: `applied` is all that its manager wants to have a say in. Returns the new object; throws a 409
 * that lists every field on which another manager says something else, unless forced.
 */
export function applyObject(
  live: KubeObject | undefined,
  applied: KubeObject,
  request: ApplyRequest,
): KubeObject {
  const wanted = ownablePart(applied, request.hasStatus, request.subresource);
  const fields = fieldSetOf(wanted, request.schema);
  const me = {
    manager: request.manager,
    operation: 'Apply',
    subresource: request.subresource ?? '',
  } as const;
  const base: KubeObject =
    live === undefined ? { ...applied, metadata: { ...applied.metadata } } : cloneJson(live);
  const owners = live === undefined ? [] : ownersOf(live, request.schema);
  const others = settleConflicts(
    owners.filter((owner) => !isSameOwner(owner, me)),
    fields,
    wanted,
    base,
    request,
  );
  const merged =
    live === undefined ? base : (mergeApplied(base, cloneJson(wanted), request.schema) as KubeObject);
  const before = owners.find((owner) => isSameOwner(owner, me));
  if (before !== undefined) {
    const kept = new FieldSet();
    kept.add(fields);
    for (const owner of others) kept.add(owner.fields);
    pruneFields(merged, before.fields.minus(fields), kept, request.schema);
  }
  const mine = { ...me, apiVersion: applied.apiVersion, fields };
  writeOwners(merged, withOwner(before === undefined ? others : [...others, before], mine));
  return merged;
}

/** The other owners, less what is taken from them by force. */
function settleConflicts(
  others: readonly FieldOwner[],
  fields: FieldSet,
  wanted: Json,
  live: KubeObject,
  request: ApplyRequest,
): FieldOwner[] {
  const causes: Cause[] = [];
  const settled = others.map((owner) => {
    const disputed = disputedFields(owner.fields.intersect(fields), wanted, live, request);
    for (const path of disputed.paths()) causes.push(conflictCause(owner, path));
    return disputed.isEmpty ? owner : { ...owner, fields: owner.fields.minus(disputed) };
  });
  if (causes.length === 0 || request.force) return settled;
  throw conflictError(causes);
}

/** Shared fields on which the live value differs. kubectl may change what kubectl applied on the client side. */
function disputedFields(shared: FieldSet, wanted: Json, live: KubeObject, request: ApplyRequest): FieldSet {
  const disputed = new FieldSet();
  const lastApplied =
    request.manager === 'kubectl' ? lastAppliedFields(live, request.schema) : new FieldSet();
  for (const path of shared.minus(lastApplied).paths()) {
    if (path.at(-1)?.startsWith('k:') === true || path.at(-1)?.startsWith('v:') === true) continue;
    if (equalJson(valueAtSteps(live, path, request.schema), valueAtSteps(wanted, path, request.schema)))
      continue;
    let node = disputed;
    for (const step of path) node = node.child(step);
    node.self = true;
  }
  return disputed;
}

function lastAppliedFields(live: KubeObject, schema: TypeSchema | undefined): FieldSet {
  const text = stringAt(live, 'metadata', 'annotations', LAST_APPLIED);
  if (text === undefined) return new FieldSet();
  try {
    return fieldSetOf(ownablePart(JSON.parse(text) as KubeObject, false, undefined), schema);
  } catch {
    return new FieldSet();
  }
}

function conflictCause(owner: FieldOwner, path: readonly string[]): Cause {
  const subresource = owner.subresource === '' ? '' : ` with subresource "${owner.subresource}"`;
  return {
    reason: 'FieldManagerConflict',
    message: `conflict with "${owner.manager}"${subresource} using ${owner.apiVersion}`,
    field: pathText(path),
  };
}

function conflictError(causes: readonly Cause[]): StatusError {
  const count = causes.length === 1 ? '1 conflict' : `${causes.length} conflicts`;
  const byMessage = new Map<string, string[]>();
  for (const { message, field } of causes) byMessage.set(message, [...(byMessage.get(message) ?? []), field]);
  const lines = [...byMessage].map(([message, fields]) =>
    fields.length === 1 ? `${message}: ${fields[0] ?? ''}` : `${message}:\n- ${fields.join('\n- ')}`,
  );
  return new StatusError(409, 'Conflict', `Apply failed with ${count}: ${lines.join('\n')}`, { causes });
}
