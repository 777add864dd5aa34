/** What every error of Flatnet tells besides its message. */
export interface FlatnetErrorDetails {
  /** Stable, upper case, greppable: `ENOBUFS`, `POD_CIDR_EXHAUSTED`, `HTTP_409`. */
  readonly code: string;
  /** What a person can do about it, as a sentence. */
  readonly hint?: string;
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** The one error class: says what was being done and with which object, in the kernel's or tool's own words. */
export class FlatnetError extends Error {
  readonly code: string;
  readonly hint: string | undefined;
  readonly retryable: boolean;

  constructor(message: string, details: FlatnetErrorDetails) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'FlatnetError';
    this.code = details.code;
    this.hint = details.hint;
    this.retryable = details.retryable ?? false;
  }
}

/** The message of anything that was thrown, with the hint when there is one. */
export function describeError(error: unknown): string {
  if (error instanceof FlatnetError && error.hint !== undefined) return `${error.message} (${error.hint})`;
  return error instanceof Error ? error.message : String(error);
}
