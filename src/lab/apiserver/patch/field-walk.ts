import { equalJson, type Json, type JsonObject, isObject } from '../json/json.ts';
import type { TypeSchema } from '../schema/type-schema.ts';
import { FieldSet } from './field-set.ts';

/** What server-side apply treats as one value. */
function isAtomic(value: Json, schema: TypeSchema | undefined): boolean {
  if (schema?.atomic === true) return true;
  if (Array.isArray(value)) return schema?.listType !== 'map' && schema?.listType !== 'set';
  return !isObject(value);
}

function memberSchema(schema: TypeSchema | undefined, member: string): TypeSchema | undefined {
  return schema?.properties?.get(member) ?? schema?.values;
}

/** The step to an element of a list that has keys or is a set. */
function elementStep(element: Json, schema: TypeSchema): string {
  if (schema.listType === 'set') return `v:${JSON.stringify(element)}`;
  const keys: JsonObject = {};
  for (const key of [...(schema.listKeys ?? [])].sort()) {
    const value = isObject(element) ? element[key] : undefined;
    const chosen = value ?? schema.keyDefaults?.[key];
    if (chosen !== undefined) keys[key] = chosen;
  }
  return `k:${JSON.stringify(keys)}`;
}

/** Every path of the value: leaves, empty objects, and elements of keyed lists as such. */
export function fieldSetOf(value: Json, schema: TypeSchema | undefined): FieldSet {
  const set = new FieldSet();
  if (isAtomic(value, schema)) {
    set.self = true;
  } else if (Array.isArray(value) && schema !== undefined) {
    set.self = value.length === 0;
    for (const element of value) {
      const child = schema.listType === 'map' ? fieldSetOf(element, schema.items) : new FieldSet();
      child.self = true;
      set.children.set(elementStep(element, schema), child);
    }
  } else if (isObject(value)) {
    for (const [member, inner] of Object.entries(value)) {
      if (inner === undefined || inner === null) continue;
      set.children.set(`f:${member}`, fieldSetOf(inner, memberSchema(schema, member)));
    }
    set.self = set.children.size === 0;
  }
  return set;
}

/** The value that a path leads to; undefined where it leads nowhere. */
export function valueAtSteps(
  root: Json | undefined,
  steps: readonly string[],
  schema: TypeSchema | undefined,
): Json | undefined {
  let value = root;
  let shape = schema;
  for (const step of steps) {
    if (step.startsWith('f:')) {
      const member = step.slice(2);
      value = isObject(value) ? value[member] : undefined;
      shape = memberSchema(shape, member);
    } else {
      const list = shape;
      value =
        Array.isArray(value) && list !== undefined
          ? value.find((one) => elementStep(one, list) === step)
          : undefined;
      shape = shape?.items;
    }
    if (value === undefined) return undefined;
  }
  return value;
}

/** Paths of `after` that are new or have another value than in `before`. */
export function changedFields(
  before: Json | undefined,
  after: Json,
  schema: TypeSchema | undefined,
): FieldSet {
  const set = new FieldSet();
  for (const path of fieldSetOf(after, schema).paths()) {
    const old = valueAtSteps(before, path, schema);
    const present = valueAtSteps(after, path, schema);
    const container =
      path.length > 0 && (isObject(present) || Array.isArray(present)) && !isLeaf(present, path, schema);
    if (old !== undefined && (container || equalJson(old, present))) continue;
    let node = set;
    for (const step of path) node = node.child(step);
    node.self = true;
  }
  return set;
}

/** Elements of keyed lists are in a set by themselves, but their value is that of their members. */
function isLeaf(value: Json, path: readonly string[], schema: TypeSchema | undefined): boolean {
  if (path.at(-1)?.startsWith('k:') === true) return false;
  return isAtomic(value, schemaAt(schema, path)) || (isObject(value) && Object.keys(value).length === 0);
}

function schemaAt(schema: TypeSchema | undefined, steps: readonly string[]): TypeSchema | undefined {
  let shape = schema;
  for (const step of steps) shape = step.startsWith('f:') ? memberSchema(shape, step.slice(2)) : shape?.items;
  return shape;
}

/** Merges what is applied into what is there: members by name, keyed elements by key, sets as unions. */
export function mergeApplied(live: Json | undefined, applied: Json, schema: TypeSchema | undefined): Json {
  if (live === undefined || live === null || isAtomic(applied, schema)) return applied;
  if (Array.isArray(applied) && schema !== undefined) {
    return Array.isArray(live) ? mergeAppliedList(live, applied, schema) : applied;
  }
  if (!isObject(applied) || !isObject(live)) return applied;
  const result: JsonObject = { ...live };
  for (const [member, value] of Object.entries(applied)) {
    if (value === undefined || value === null) continue;
    result[member] = mergeApplied(live[member], value, memberSchema(schema, member));
  }
  return result;
}

function mergeAppliedList(live: readonly Json[], applied: readonly Json[], schema: TypeSchema): Json[] {
  const result = [...live];
  const steps = result.map((one) => elementStep(one, schema));
  for (const element of applied) {
    const step = elementStep(element, schema);
    const at = steps.indexOf(step);
    if (at < 0) {
      steps.push(step);
      result.push(element);
    } else if (schema.listType === 'map') result[at] = mergeApplied(result[at], element, schema.items);
  }
  return result;
}

/** Takes out what `removed` names and nobody in `kept` owns; changes `value`. */
export function pruneFields(
  value: Json,
  removed: FieldSet,
  kept: FieldSet,
  schema: TypeSchema | undefined,
): void {
  for (const [step, inner] of removed.children) {
    const owned = kept.children.get(step);
    const child = valueAtSteps(value, [step], schema);
    if (child === undefined) continue;
    if (inner.self && (owned === undefined || owned.isEmpty)) removeStep(value, step, schema);
    else {
      const shape = step.startsWith('f:') ? memberSchema(schema, step.slice(2)) : schema?.items;
      pruneFields(child, inner, owned ?? new FieldSet(), shape);
      // A list that has lost its last element goes, as long as nobody owns the list itself.
      if (Array.isArray(child) && child.length === 0 && owned === undefined) removeStep(value, step, schema);
    }
  }
}

function removeStep(value: Json, step: string, schema: TypeSchema | undefined): void {
  if (isObject(value)) delete value[step.slice(2)];
  else if (Array.isArray(value) && schema !== undefined) {
    const at = value.findIndex((one) => elementStep(one, schema) === step);
    if (at >= 0) value.splice(at, 1);
  }
}
