import type { ProblemList } from './problem.ts';

/** What JSON may stand at a place; fields that an object's shape does not name are not looked at. */
export type Shape = 'text' | 'number' | 'boolean' | readonly [Shape] | { readonly [field: string]: Shape };

/**
 * The object without what is of another kind than its type says, each told of by field; itself where all is well.
 * `null` is absent, as the API has it. No element of a list is left out, so that fields keep their indexes: empty ones
 * take the place of those that cannot be, so that a list of what is allowed never becomes one that allows everything.
 */
export function wellFormed<T>(object: T, shape: Shape, problems: ProblemList): T {
  return reshape(object, shape, '', problems) as T;
}

function reshape(value: unknown, shape: Shape, field: string, problems: ProblemList): unknown {
  if (value === undefined || value === null) return undefined;
  if (typeof shape === 'string') {
    if (typeof value === (shape === 'text' ? 'string' : shape)) return value;
    problems.add(field, `is ${kindOf(value)}, not a ${shape}`);
    return undefined;
  }
  if (isList(shape)) return reshapeList(value, shape[0], field, problems);
  if (typeof value === 'object' && !Array.isArray(value)) {
    return reshapeObject(value as Record<string, unknown>, shape, field, problems);
  }
  problems.add(field, `is ${kindOf(value)}, not an object`);
  return undefined;
}

function isList(shape: Exclude<Shape, string>): shape is readonly [Shape] {
  return Array.isArray(shape);
}

function reshapeList(value: unknown, shape: Shape, field: string, problems: ProblemList): unknown {
  const blank = typeof shape === 'string' ? '' : {};
  if (!Array.isArray(value)) {
    problems.add(field, `is ${kindOf(value)}, not a list`);
    return shape === 'text' ? [typeof value === 'string' ? value : blank] : [];
  }
  let copy: unknown[] | undefined;
  for (let index = 0; index < value.length; index += 1) {
    const before: unknown = value[index];
    const after = reshape(before, shape, `${field}[${index}]`, problems) ?? blank;
    if (after === before) continue;
    copy ??= [...(value as unknown[])];
    copy[index] = after;
  }
  return copy ?? value;
}

function reshapeObject(
  value: Record<string, unknown>,
  shape: Readonly<Record<string, Shape>>,
  field: string,
  problems: ProblemList,
): unknown {
  let copy: Record<string, unknown> | undefined;
  for (const name in shape) {
    const before = value[name];
    if (before === undefined) continue;
    const after = reshape(before, shape[name] as Shape, field === '' ? name : `${field}.${name}`, problems);
    if (after === before) continue;
    copy ??= { ...value };
    if (after === undefined) delete copy[name];
    else copy[name] = after;
  }
  return copy ?? value;
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'an object';
  return typeof value === 'string' ? 'a text' : `a ${typeof value}`;
}
