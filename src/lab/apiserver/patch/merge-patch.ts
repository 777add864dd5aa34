import { isObject, type Json, type JsonObject } from '../json/json.ts';

/** JSON merge patch (RFC 7396): null removes, objects merge, everything else replaces. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const result: JsonObject = isObject(target) ? { ...target } : {};
  for (const [member, value] of Object.entries(patch)) {
    if (value === null || value === undefined) delete result[member];
    else result[member] = mergePatch(result[member], value);
  }
  return result;
}
