import { badRequest } from '../json/status-error.ts';

/** What a path under /api or /apis names. */
export interface ResourcePath {
  readonly group: string;
  readonly version: string;
  /** '' where the path names no namespace. */
  readonly namespace: string;
  readonly resource: string;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
  /** What follows the subresource, as in pods/x/proxy/a/b. */
  readonly rest: readonly string[];
}

/**
 * Reads `/api/v1/…` and `/apis/GROUP/VERSION/…`. Undefined where the path is too short to name a resource.
 * `namespaces/x`, `namespaces/x/status` and `namespaces/x/finalize` are the Namespace itself.
 */
export function parseResourcePath(pathname: string): ResourcePath | undefined {
  const segments = pathname.split('/').slice(1).map(decodeSegment);
  if (segments.at(-1) === '') segments.pop();
  const core = segments[0] === 'api';
  if (!core && segments[0] !== 'apis') return undefined;
  const group = core ? '' : (segments[1] ?? '');
  const version = segments[core ? 1 : 2];
  const parts = segments.slice(core ? 2 : 3);
  if (version === undefined || parts.length === 0) return undefined;
  const inNamespace =
    parts[0] === 'namespaces' && parts.length > 2 && !(core && isNamespaceSubresource(parts[2]));
  const namespace = inNamespace ? (parts[1] ?? '') : '';
  const [resource = '', name, subresource, ...rest] = inNamespace ? parts.slice(2) : parts;
  return { group, version, namespace, resource, name, subresource, rest };
}

function isNamespaceSubresource(segment: string | undefined): boolean {
  return segment === 'status' || segment === 'finalize';
}

function decodeSegment(segment: string): string {
  if (!segment.includes('%')) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    throw badRequest(`the path segment "${segment}" is not percent-encoded text`);
  }
}
