import { FlatnetError } from '../../errors/flatnet-error.ts';

export const NAME_LIMIT = 40;
export const TEXT_LIMIT = 500;

/** One entry of the guestbook, as it lies in the store and goes over the API. */
export interface GuestbookMessage {
  readonly name: string;
  readonly text: string;
  /** ISO 8601. */
  readonly at: string;
  /** The API pod that took it. */
  readonly pod: string;
}

/** What the API says to a request for the list. */
export interface GuestbookList {
  readonly messages: readonly GuestbookMessage[];
  /** The API pod that answered. */
  readonly pod: string;
}

/** Checks what somebody wrote; throws INVALID_MESSAGE naming the field. */
export function checkMessage(input: unknown): { name: string; text: string } {
  const { name, text } = (typeof input === 'object' && input !== null ? input : {}) as Record<
    string,
    unknown
  >;
  return { name: checkField('name', name, NAME_LIMIT), text: checkField('message', text, TEXT_LIMIT) };
}

/** An entry as it lies in the store; undefined for what somebody else put there. */
export function readStored(text: string): GuestbookMessage | undefined {
  try {
    const { name, text: words, at, pod } = JSON.parse(text) as Record<string, unknown>;
    const whole = [name, words, at, pod].every((field) => typeof field === 'string');
    return whole ? ({ name, text: words, at, pod } as GuestbookMessage) : undefined;
  } catch {
    return undefined;
  }
}

function checkField(field: string, value: unknown, limit: number): string {
  const trimmed = typeof value === 'string' ? value.trim() : '';
  if (trimmed === '') throw invalid(`Please fill in the ${field}.`);
  if (trimmed.length > limit) throw invalid(`The ${field} is longer than ${limit} characters.`);
  return trimmed;
}

function invalid(message: string): FlatnetError {
  return new FlatnetError(message, { code: 'INVALID_MESSAGE' });
}
