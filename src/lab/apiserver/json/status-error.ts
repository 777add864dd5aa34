import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { JsonObject } from './json.ts';

/** One cause of an invalid object, as in Status.details.causes. */
export interface Cause {
  readonly reason:
    | 'FieldValueRequired'
    | 'FieldValueInvalid'
    | 'FieldValueNotSupported'
    | 'FieldValueDuplicate'
    | 'FieldValueForbidden'
    | 'FieldValueTooLong'
    | 'FieldValueTypeInvalid'
    | 'FieldManagerConflict';
  readonly message: string;
  readonly field: string;
}

/** What an error is about: Status.details names kind or resource, group and object. */
export interface StatusSubject {
  readonly group?: string;
  readonly kind?: string;
  readonly name?: string;
}

interface StatusOptions {
  readonly subject?: StatusSubject;
  readonly causes?: readonly Cause[];
  readonly retryAfterSeconds?: number;
}

/** An error that the client sees as a meta/v1 Status object with the HTTP status `status`. */
export class StatusError extends FlatnetError {
  readonly status: number;
  readonly reason: string;
  readonly subject: StatusSubject | undefined;
  readonly causes: readonly Cause[];
  readonly retryAfterSeconds: number | undefined;

  constructor(status: number, reason: string, message: string, options: StatusOptions = {}) {
    super(message, { code: `HTTP_${status}`, retryable: status === 429 || status >= 500 });
    this.name = 'StatusError';
    this.status = status;
    this.reason = reason;
    this.subject = options.subject;
    this.causes = options.causes ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  /** The body that is sent. */
  toStatus(): JsonObject {
    const details: JsonObject = { ...this.subject };
    if (this.causes.length > 0) details['causes'] = this.causes.map((cause) => ({ ...cause }));
    if (this.retryAfterSeconds !== undefined) details['retryAfterSeconds'] = this.retryAfterSeconds;
    const status: JsonObject = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: this.message,
      reason: this.reason,
    };
    // `kubectl debug` reads the details of a path that does not exist without looking whether there are any.
    if (this.subject !== undefined || Object.keys(details).length > 0) status['details'] = details;
    status['code'] = this.status;
    return status;
  }
}

function qualified(group: string, resource: string): string {
  return group === '' ? resource : `${resource}.${group}`;
}

export function notFound(group: string, resource: string, name: string): StatusError {
  return new StatusError(404, 'NotFound', `${qualified(group, resource)} "${name}" not found`, {
    subject: { name, ...(group === '' ? {} : { group }), kind: resource },
  });
}

export function noSuchPath(): StatusError {
  return new StatusError(404, 'NotFound', 'the server could not find the requested resource', {
    subject: {},
  });
}

export function alreadyExists(group: string, resource: string, name: string): StatusError {
  return new StatusError(409, 'AlreadyExists', `${qualified(group, resource)} "${name}" already exists`, {
    subject: { name, ...(group === '' ? {} : { group }), kind: resource },
  });
}

export function conflict(group: string, resource: string, name: string, why?: string): StatusError {
  const because =
    why ?? 'the object has been modified; please apply your changes to the latest version and try again';
  return new StatusError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(group, resource)} "${name}": ${because}`,
    { subject: { name, ...(group === '' ? {} : { group }), kind: resource } },
  );
}

export function badRequest(message: string): StatusError {
  return new StatusError(400, 'BadRequest', message);
}

export function forbidden(group: string, resource: string, name: string, why: string): StatusError {
  return new StatusError(403, 'Forbidden', `${qualified(group, resource)} "${name}" is forbidden: ${why}`, {
    subject: { name, ...(group === '' ? {} : { group }), kind: resource },
  });
}

export function expired(message: string): StatusError {
  return new StatusError(410, 'Expired', message);
}

export function methodNotAllowed(): StatusError {
  return new StatusError(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
  );
}

/** 422 with one line per cause, worded as kube-apiserver's field.ErrorList. */
export function invalid(group: string, kind: string, name: string, causes: readonly Cause[]): StatusError {
  const lines = [...new Set(causes.map((cause) => `${cause.field}: ${cause.message}`))];
  const text = lines.length === 1 ? lines[0] : `[${lines.join(', ')}]`;
  return new StatusError(422, 'Invalid', `${qualified(group, kind)} "${name}" is invalid: ${text}`, {
    subject: { name, ...(group === '' ? {} : { group }), kind },
    causes,
  });
}
