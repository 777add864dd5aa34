import type * as z from 'zod';

/** `iptables.masqueradeBit`, `nodePortAddresses[1]`, `featureGates["A.B"]`. */
export function fieldOf(path: readonly PropertyKey[]): string {
  let field = '';
  for (const part of path) {
    if (typeof part === 'number') field += `[${part}]`;
    else if (!/^[\w-]+$/.test(String(part))) field += `[${JSON.stringify(String(part))}]`;
    else field += field === '' ? String(part) : `.${String(part)}`;
  }
  return field;
}

/** A line for each thing that an issue tells; `known` are the fields there are, for a hint at what was meant. */
export function describeIssue(issue: z.core.$ZodIssue, known: readonly string[] = []): string[] {
  const field = fieldOf(issue.path);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map(
      (key) => `${fieldOf([...issue.path, key])}: unknown field${meant([...issue.path, key], known)}`,
    );
  }
  const message = issue.message.replace(/^Invalid input: expected (\w+), received undefined$/, 'is missing');
  return [field === '' ? message : `${field}: ${message}`];
}

/** Same name in another place or another case, else a slip of the pen beside it. */
function meant(path: readonly PropertyKey[], known: readonly string[]): string {
  const written = fieldOf(path);
  const name = lastPart(written).toLowerCase();
  const same = known.filter((field) => lastPart(field).toLowerCase() === name);
  const near = same.length > 0 ? same : known.filter((field) => isSlip(field, written));
  return near.length === 0 ? '' : `; did you mean ${near.slice(0, 3).join(' or ')}?`;
}

const lastPart = (field: string): string => field.slice(field.lastIndexOf('.') + 1);

function isSlip(field: string, written: string): boolean {
  return (
    Math.abs(field.length - written.length) <= 2 && distance(field.toLowerCase(), written.toLowerCase()) <= 2
  );
}

/** Levenshtein's. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
