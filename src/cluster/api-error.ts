import type { Status, StatusCause } from 'kubernetes-types/meta/v1.js';
import { FlatnetError } from '../errors/flatnet-error.ts';

/** The API server's refusal: HTTP status, the reason and the causes of its Status object. Code `HTTP_<status>`. */
export class ApiError extends FlatnetError {
  readonly status: number;
  /** `NotFound`, `AlreadyExists`, `Conflict`, `Invalid`, `Expired` …; empty when the body was no Status. */
  readonly reason: string;
  readonly causes: readonly StatusCause[];
  /** From the header Retry-After or the Status details. */
  readonly retryAfterMs: number | undefined;

  constructor(doing: string, status: number, body: Partial<Status>, retryAfterMs?: number) {
    super(`${doing}: ${body.message ?? `HTTP ${status}`}`, {
      code: `HTTP_${status}`,
      retryable: status === 429 || status >= 500,
      ...hintFor(status, body.message ?? ''),
    });
    this.status = status;
    this.reason = body.reason ?? '';
    this.causes = body.details?.causes ?? [];
    const seconds = body.details?.retryAfterSeconds;
    this.retryAfterMs = retryAfterMs ?? (seconds === undefined ? undefined : seconds * 1000);
  }
}

/** Whether the error is the API server's answer with this HTTP status. */
export function hasStatus(error: unknown, status: number): boolean {
  return error instanceof ApiError && error.status === status;
}

function hintFor(status: number, message: string): { hint?: string } {
  if (status === 401) {
    return { hint: 'the API server does not accept the credentials; look at the kubeconfig or its token' };
  }
  // RBAC's words; admission plugins refuse with 403, too.
  if (status === 403 && /cannot \w+ resource/.test(message)) {
    return { hint: 'the credentials are valid but lack a role that allows this; look at the RBAC bindings' };
  }
  return {};
}
