import { cloneJson, equalJson, isObject, type Json, type JsonObject } from '../json/json.ts';
import { badRequest } from '../json/status-error.ts';
import type { TypeSchema } from '../schema/type-schema.ts';

// Strategic merge patch, as Kubernetes' "Notes on the strategic merge patch" describe it: lists with a merge key
// are merged by it, and directives say what a plain merge cannot.

const DIRECTIVE = '$patch';
const RETAIN_KEYS = '$retainKeys';
const DELETE_PREFIX = '$deleteFromPrimitiveList/';
const ORDER_PREFIX = '$setElementOrder/';

/** Applies the patch; `schema` tells how lists merge, lists without a merge key are replaced. */
export function strategicMerge(
  current: Json | undefined,
  patch: JsonObject,
  schema: TypeSchema | undefined,
): JsonObject {
  const directive = patch[DIRECTIVE];
  if (directive === 'replace') return withoutDirectives(patch);
  if (directive === 'delete') return {};
  if (directive !== undefined && directive !== 'merge')
    throw badRequest(`unrecognized $patch directive: ${JSON.stringify(directive)}`);
  const result: JsonObject = isObject(current) ? { ...current } : {};
  retainKeys(result, patch);
  for (const [member, value] of Object.entries(patch)) {
    if (value === undefined || member === DIRECTIVE || member === RETAIN_KEYS) continue;
    if (member.startsWith(DELETE_PREFIX)) deleteValues(result, member.slice(DELETE_PREFIX.length), value);
    else if (!member.startsWith(ORDER_PREFIX))
      mergeMember(result, member, value, memberSchema(schema, member));
  }
  for (const [member, order] of Object.entries(patch)) {
    if (!member.startsWith(ORDER_PREFIX) || !Array.isArray(order)) continue;
    const name = member.slice(ORDER_PREFIX.length);
    setOrder(result, name, order, memberSchema(schema, name)?.patchMergeKey);
  }
  return result;
}

function memberSchema(schema: TypeSchema | undefined, member: string): TypeSchema | undefined {
  return schema?.properties?.get(member) ?? schema?.values;
}

/** `$retainKeys`: members that are not named go, so that a union changes from one kind to another. */
function retainKeys(result: JsonObject, patch: JsonObject): void {
  const keep = patch[RETAIN_KEYS];
  if (!Array.isArray(keep)) return;
  for (const member of Object.keys(result)) if (!keep.includes(member)) delete result[member];
}

function mergeMember(result: JsonObject, member: string, value: Json, schema: TypeSchema | undefined): void {
  const present = result[member];
  if (value === null) delete result[member];
  else if (isObject(value)) {
    if (value[DIRECTIVE] === 'delete') delete result[member];
    else result[member] = strategicMerge(present, value, schema);
  } else if (Array.isArray(value) && schema?.patchMergeKey !== undefined) {
    result[member] =
      schema.patchMergeKey === ''
        ? mergeSets(present, value)
        : mergeLists(Array.isArray(present) ? present : [], value, schema.patchMergeKey, schema.items);
  } else result[member] = cloneJson(value);
}

function mergeSets(present: Json | undefined, added: readonly Json[]): Json[] {
  const result = Array.isArray(present) ? [...present] : [];
  for (const value of added) if (!result.some((one) => equalJson(one, value))) result.push(value);
  return result;
}

/** Elements of the patch find theirs by key; new ones go to the end, `$patch: delete` removes, `replace` clears. */
function mergeLists(
  present: readonly Json[],
  patches: readonly Json[],
  key: string,
  items: TypeSchema | undefined,
): Json[] {
  const replaced = patches.some((one) => isObject(one) && one[DIRECTIVE] === 'replace');
  if (replaced)
    return patches
      .filter((one) => !isObject(one) || one[DIRECTIVE] === undefined)
      .map((one) => cloneJson(one));
  let result = [...present];
  for (const patch of patches) {
    if (!isObject(patch)) throw badRequest('a list with a merge key has objects as its elements');
    const id = patch[key];
    if (id === undefined)
      throw badRequest(`map: ${JSON.stringify(patch)} does not contain declared merge key: ${key}`);
    const matches = (one: Json): boolean => isObject(one) && equalJson(one[key], id);
    if (patch[DIRECTIVE] === 'delete') result = result.filter((one) => !matches(one));
    else {
      const at = result.findIndex(matches);
      const merged = strategicMerge(at < 0 ? undefined : result[at], patch, items);
      if (at < 0) result.push(merged);
      else result[at] = merged;
    }
  }
  return result;
}

function deleteValues(result: JsonObject, member: string, values: Json): void {
  const present = result[member];
  if (!Array.isArray(present) || !Array.isArray(values)) return;
  result[member] = present.filter((one) => !values.some((value) => equalJson(value, one)));
}

/** Named elements take the order of the directive; those it does not name keep their place among them. */
function setOrder(result: JsonObject, member: string, order: readonly Json[], key: string | undefined): void {
  const present = result[member];
  if (!Array.isArray(present)) return;
  const idOf = (one: Json | undefined): Json | undefined =>
    isObject(one) && key !== undefined && key !== '' ? one[key] : one;
  const rank = (one: Json): number => order.findIndex((wanted) => equalJson(idOf(wanted), idOf(one)));
  const named = present.filter((one) => rank(one) >= 0).sort((a, b) => rank(a) - rank(b));
  const ordered: Json[] = [];
  for (const one of present) {
    if (rank(one) < 0) ordered.push(one);
    else {
      const next = named.shift();
      if (next !== undefined) ordered.push(next);
    }
  }
  result[member] = ordered;
}

function withoutDirectives(patch: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(patch).filter(([member]) => !member.startsWith('$')));
}
