/** A value as JSON.parse returns it. */
export type Json = string | number | boolean | null | Json[] | JsonObject;

/** A JSON object; absent members read as undefined. */
export interface JsonObject {
  [member: string]: Json | undefined;
}

export type JsonPath = readonly (string | number)[];

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value at a path, undefined where any step is missing. */
export function valueAt(root: Json | undefined, ...path: JsonPath): Json | undefined {
  let value: Json | undefined = root;
  for (const step of path) {
    if (Array.isArray(value)) value = value[Number(step)];
    else if (isObject(value)) value = value[step];
    else return undefined;
  }
  return value;
}

export function objectAt(root: Json | undefined, ...path: JsonPath): JsonObject | undefined {
  const value = valueAt(root, ...path);
  return isObject(value) ? value : undefined;
}

/** The array at a path, empty when it is missing. */
export function arrayAt(root: Json | undefined, ...path: JsonPath): Json[] {
  const value = valueAt(root, ...path);
  return Array.isArray(value) ? value : [];
}

/** The objects of the array at a path; anything else in it is left out. */
export function objectsAt(root: Json | undefined, ...path: JsonPath): JsonObject[] {
  return arrayAt(root, ...path).filter(isObject);
}

export function stringAt(root: Json | undefined, ...path: JsonPath): string | undefined {
  const value = valueAt(root, ...path);
  return typeof value === 'string' ? value : undefined;
}

export function stringsAt(root: Json | undefined, ...path: JsonPath): string[] {
  return arrayAt(root, ...path).filter((value): value is string => typeof value === 'string');
}

export function numberAt(root: Json | undefined, ...path: JsonPath): number | undefined {
  const value = valueAt(root, ...path);
  return typeof value === 'number' ? value : undefined;
}

export function booleanAt(root: Json | undefined, ...path: JsonPath): boolean | undefined {
  const value = valueAt(root, ...path);
  return typeof value === 'boolean' ? value : undefined;
}

/** The member as an object, made when it is missing or null. */
export function ensureObject(parent: JsonObject, member: string): JsonObject {
  const value = parent[member];
  if (isObject(value)) return value;
  const made: JsonObject = {};
  parent[member] = made;
  return made;
}

/** Sets members that are missing; null counts as missing, as it does in Go's decoding. */
export function setDefaults(object: JsonObject, defaults: JsonObject): void {
  for (const [member, value] of Object.entries(defaults)) {
    if (object[member] === undefined || object[member] === null) object[member] = value;
  }
}

export function cloneJson<T extends Json>(value: T): T {
  return structuredClone(value);
}

/** Deep equality; members that are undefined count as absent, the order of members does not matter. */
export function equalJson(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, i) => equalJson(item, b[i]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  for (const member of Object.keys(a)) if (!equalJson(a[member], b[member])) return false;
  for (const member of Object.keys(b)) if (a[member] === undefined && b[member] !== undefined) return false;
  return true;
}
