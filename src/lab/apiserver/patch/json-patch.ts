import { cloneJson, equalJson, isObject, type Json, stringAt } from '../json/json.ts';
import { badRequest, StatusError } from '../json/status-error.ts';

/** As kube-apiserver limits it. */
const MAX_OPERATIONS = 10_000;
/** As kube-apiserver: its limit of a body. A few dozen copies of the whole into itself would fill any memory. */
const MAX_COPIED_CHARACTERS = 3 * 1024 * 1024;

function cannot(message: string): StatusError {
  return new StatusError(
    422,
    'Invalid',
    `the server rejected our request due to an error in our request: ${message}`,
  );
}

/** JSON patch (RFC 6902); changes `document` and returns it (or what replaced it whole). */
export function applyJsonPatch(document: Json, operations: Json): Json {
  if (!Array.isArray(operations)) throw badRequest('a JSON patch is a list of operations');
  if (operations.length > MAX_OPERATIONS) {
    throw new StatusError(
      413,
      'RequestEntityTooLarge',
      `The allowed maximum operations in a JSON patch is ${MAX_OPERATIONS}`,
    );
  }
  let result = document;
  let copied = 0;
  for (const operation of operations) {
    if (!isObject(operation)) throw badRequest('an operation of a JSON patch is an object');
    if (operation['op'] === 'copy') {
      copied += JSON.stringify(lookUp(result, stringAt(operation, 'from') ?? '')).length;
      if (copied > MAX_COPIED_CHARACTERS) {
        throw cannot(`the copies of a JSON patch are limited to ${MAX_COPIED_CHARACTERS} bytes`);
      }
    }
    result = applyOperation(result, operation['op'], stringAt(operation, 'path') ?? '', operation);
  }
  return result;
}

function applyOperation(
  document: Json,
  op: Json | undefined,
  path: string,
  operation: Record<string, Json | undefined>,
): Json {
  const from = typeof operation['from'] === 'string' ? operation['from'] : '';
  switch (op) {
    case 'add':
      return add(document, path, operation['value'] ?? null);
    case 'remove':
      return remove(document, path);
    case 'replace':
      return add(remove(document, path), path, operation['value'] ?? null);
    case 'move': {
      const moved = lookUp(document, from);
      return add(remove(document, from), path, moved);
    }
    case 'copy':
      return add(document, path, cloneJson(lookUp(document, from)));
    case 'test':
      if (!equalJson(lookUp(document, path), operation['value'] ?? null)) {
        throw cannot(`testing value ${path} failed`);
      }
      return document;
    default:
      throw badRequest(`unexpected kind of JSON patch operation: ${JSON.stringify(op)}`);
  }
}

/** RFC 6901: `~1` is `/`, `~0` is `~`. */
function steps(pointer: string): string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw badRequest(`"${pointer}" is not a JSON pointer`);
  return pointer
    .slice(1)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function index(list: readonly Json[], step: string, forInsert: boolean): number {
  if (step === '-' && forInsert) return list.length;
  const position = /^-?\d+$/.test(step) ? Number(step) : Number.NaN;
  const fromEnd = position < 0 ? list.length + position : position;
  if (!(fromEnd >= 0 && fromEnd < list.length + (forInsert ? 1 : 0))) {
    throw cannot(`invalid array index: ${step}`);
  }
  return fromEnd;
}

function child(parent: Json, step: string, pointer: string): Json {
  if (Array.isArray(parent)) return parent[index(parent, step, false)] ?? null;
  const value = isObject(parent) && Object.hasOwn(parent, step) ? parent[step] : undefined;
  if (value === undefined) throw cannot(`path "${pointer}" does not exist`);
  return value;
}

function lookUp(document: Json, pointer: string): Json {
  return steps(pointer).reduce<Json>((value, step) => child(value, step, pointer), document);
}

function parentOf(document: Json, pointer: string): [parent: Json, last: string] {
  const all = steps(pointer);
  const last = all.pop() ?? '';
  return [all.reduce<Json>((value, step) => child(value, step, pointer), document), last];
}

function add(document: Json, pointer: string, value: Json): Json {
  if (pointer === '') return value;
  const [parent, last] = parentOf(document, pointer);
  if (Array.isArray(parent)) parent.splice(index(parent, last, true), 0, value);
  else if (isObject(parent)) parent[last] = value;
  else throw cannot(`path "${pointer}" does not exist`);
  return document;
}

function remove(document: Json, pointer: string): Json {
  if (pointer === '') return null;
  const [parent, last] = parentOf(document, pointer);
  child(parent, last, pointer);
  if (Array.isArray(parent)) parent.splice(index(parent, last, false), 1);
  else if (isObject(parent)) delete parent[last];
  return document;
}
