import type { TypeSchema } from './type-schema.ts';

/** The schema of a built-in kind; undefined where none is known. */
export function builtInSchema(_group: string, _version: string, _kind: string): TypeSchema | undefined {
  return undefined;
}
