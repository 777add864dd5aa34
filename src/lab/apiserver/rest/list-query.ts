import { badRequest, expired } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { type Matcher, parseSelectors } from '../store/selectors.ts';

/** Where a list in pages goes on: after which key, and the revision that its first page stood for. */
export interface Continuation {
  readonly revision: number;
  readonly after: string;
}

/** The query parameters of list and watch (meta/v1 ListOptions). */
export interface ListQuery {
  readonly matches: Matcher | undefined;
  readonly limit: number;
  readonly continuation: Continuation | undefined;
  /** Undefined where the client names none; 0 means any. */
  readonly revision: number | undefined;
  readonly revisionMatch: string | null;
  readonly watch: boolean;
  readonly bookmarks: boolean;
  readonly sendInitialEvents: boolean;
  readonly timeoutSeconds: number | undefined;
}

export function parseListQuery(query: URLSearchParams, definition: ResourceDefinition): ListQuery {
  const fields = new Set(definition.strategy.selectableFields ?? []);
  const token = query.get('continue');
  const timeout = integer(query, 'timeoutSeconds');
  return {
    matches: parseSelectors(query.get('labelSelector'), query.get('fieldSelector'), fields),
    limit: integer(query, 'limit') ?? 0,
    continuation: token === null || token === '' ? undefined : decodeContinuation(token),
    revision: parseRevision(query.get('resourceVersion')),
    revisionMatch: query.get('resourceVersionMatch'),
    watch: isTrue(query.get('watch')),
    bookmarks: isTrue(query.get('allowWatchBookmarks')),
    sendInitialEvents: isTrue(query.get('sendInitialEvents')),
    timeoutSeconds: timeout,
  };
}

/** As Go's strconv.ParseBool, which kube-apiserver reads boolean parameters with; a bare parameter is true. */
function isTrue(value: string | null): boolean {
  return value !== null && !['0', 'f', 'false', 'F', 'False', 'FALSE'].includes(value);
}

function integer(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  if (!/^\d{1,15}$/.test(text)) throw badRequest(`unable to parse "${text}" as a value of ${name}`);
  return Number(text);
}

function parseRevision(text: string | null): number | undefined {
  if (text === null || text === '') return undefined;
  if (!/^\d{1,15}$/.test(text))
    throw badRequest(`Invalid value: "${text}": resourceVersion must be a number`);
  return Number(text);
}

export function encodeContinuation(continuation: Continuation): string {
  return Buffer.from(
    JSON.stringify({ v: 'flatnet/v1', rv: continuation.revision, start: continuation.after }),
  ).toString('base64url');
}

function decodeContinuation(token: string): Continuation {
  try {
    const value = JSON.parse(Buffer.from(token, 'base64url').toString('utf8')) as Record<string, unknown>;
    if (typeof value['rv'] === 'number' && typeof value['start'] === 'string') {
      return { revision: value['rv'], after: value['start'] };
    }
  } catch {
    // Falls through: not a token of ours.
  }
  throw badRequest('continue key is not valid: it was not made by this server');
}

export function expiredContinuation(): Error {
  return expired(
    'The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.',
  );
}
