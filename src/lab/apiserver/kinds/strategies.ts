import type { Strategy } from './resource-definition.ts';

/** What is particular about each built-in kind, by kind. */
export const storedStrategies: Readonly<Record<string, Strategy>> = {};
