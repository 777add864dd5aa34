import { isDeepStrictEqual } from 'node:util';

/** Whether two values are the same as JSON: absent and undefined are one, order of fields does not matter. */
export function sameJson(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(plain(a), plain(b));
}

function plain(value: unknown): unknown {
  return value === undefined ? undefined : (JSON.parse(JSON.stringify(value)) as unknown);
}
