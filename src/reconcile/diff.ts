/** What separates observed from desired state. Pure data: printed as the dry run, logged, compared with golden files. */
export interface Diff<T> {
  readonly add: readonly T[];
  readonly change: readonly { readonly from: T; readonly to: T }[];
  readonly remove: readonly T[];
}

/**
 * Compares two sets of objects by key. Order follows `desired` for additions and changes, `observed` for
 * removals. `equal` decides whether an object that is on both sides has to be changed.
 */
export function diff<T>(
  desired: Iterable<T>,
  observed: Iterable<T>,
  key: (object: T) => string,
  equal: (a: T, b: T) => boolean,
): Diff<T> {
  const left = new Map<string, T>();
  for (const object of observed) left.set(key(object), object);
  const add: T[] = [];
  const change: { from: T; to: T }[] = [];
  for (const to of desired) {
    const from = left.get(key(to));
    if (from === undefined) add.push(to);
    else if (!equal(from, to)) change.push({ from, to });
    left.delete(key(to));
  }
  return { add, change, remove: [...left.values()] };
}

export function isEmpty(diff: Diff<unknown>): boolean {
  return diff.add.length === 0 && diff.change.length === 0 && diff.remove.length === 0;
}

/** One line per difference: `+ added`, `- removed`, `~ before -> after`. */
export function formatDiff<T>(diff: Diff<T>, format: (object: T) => string): string {
  return [
    ...diff.remove.map((object) => `- ${format(object)}`),
    ...diff.change.map(({ from, to }) => `~ ${format(from)} -> ${format(to)}`),
    ...diff.add.map((object) => `+ ${format(object)}`),
  ].join('\n');
}
