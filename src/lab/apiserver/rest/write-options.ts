import { type JsonObject, isObject, numberAt, stringAt } from '../json/json.ts';
import type { Call } from '../http/call.ts';
import { badRequest, StatusError } from '../json/status-error.ts';

type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

/** Query parameters of create, update and patch. */
export interface WriteOptions {
  readonly dryRun: boolean;
  readonly fieldManager: string;
  readonly fieldValidation: FieldValidation;
  /** Server-side apply takes fields that others own. */
  readonly force: boolean;
  /** Adds a `Warning` header (RFC 7234 section 5.5, code 299). */
  readonly warn: (message: string) => void;
}

export function parseWriteOptions(call: Call): WriteOptions {
  const fieldValidation = call.query.get('fieldValidation') ?? 'Warn';
  if (fieldValidation !== 'Ignore' && fieldValidation !== 'Warn' && fieldValidation !== 'Strict') {
    throw badRequest(
      `fieldValidation: Unsupported value: "${fieldValidation}": supported values: "Ignore", "Strict", "Warn"`,
    );
  }
  const warnings: string[] = [];
  return {
    dryRun: parseDryRun(call.query.getAll('dryRun')),
    fieldManager: call.query.get('fieldManager') ?? managerOf(call.request.headers['user-agent']),
    fieldValidation,
    force: call.query.get('force') === 'true',
    warn: (message) => {
      warnings.push(`299 - "${message.replaceAll(/[\\"]/g, '\\$&').replaceAll(/[^\x20-\x7e]/g, '?')}"`);
      call.response.setHeader('warning', warnings);
    },
  };
}

/** The field manager that kube-apiserver takes when none is named: the user agent up to the first slash. */
function managerOf(userAgent: string | undefined): string {
  return userAgent?.split('/', 1)[0]?.slice(0, 128) ?? 'unknown';
}

function parseDryRun(values: readonly string[]): boolean {
  for (const value of values) {
    if (value !== 'All' && value !== '') {
      throw new StatusError(422, 'Invalid', `dryRun: Unsupported value: "${value}": supported values: "All"`);
    }
  }
  return values.includes('All');
}

type Propagation = 'Background' | 'Foreground' | 'Orphan';

/** meta/v1 DeleteOptions, from the query or the body. */
export interface DeleteOptions {
  readonly dryRun: boolean;
  readonly gracePeriodSeconds: number | undefined;
  readonly propagation: Propagation | undefined;
  readonly uid: string | undefined;
  readonly resourceVersion: string | undefined;
}

export function parseDeleteOptions(call: Call, body: JsonObject | undefined): DeleteOptions {
  const graceText = call.query.get('gracePeriodSeconds');
  const policy = stringAt(body, 'propagationPolicy') ?? call.query.get('propagationPolicy') ?? undefined;
  if (policy !== undefined && policy !== 'Background' && policy !== 'Foreground' && policy !== 'Orphan') {
    throw new StatusError(
      422,
      'Invalid',
      `DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "${policy}": supported values: "Foreground", "Background", "Orphan"`,
    );
  }
  const orphan = isObject(body) && body['orphanDependents'] === true ? 'Orphan' : undefined;
  const inBody = Array.isArray(body?.['dryRun']) ? body['dryRun'].map(String) : [];
  return {
    dryRun: parseDryRun([...inBody, ...call.query.getAll('dryRun')]),
    gracePeriodSeconds:
      numberAt(body, 'gracePeriodSeconds') ?? (graceText === null ? undefined : Number(graceText)),
    propagation: policy ?? orphan,
    uid: stringAt(body, 'preconditions', 'uid'),
    resourceVersion: stringAt(body, 'preconditions', 'resourceVersion'),
  };
}
