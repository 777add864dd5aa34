import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { ProtoField, ProtoMessage } from './message.ts';
import { RecentTexts } from './recent-texts.ts';

// https://protobuf.dev/programming-guides/encoding/

export const VARINT = 0;
const FIXED_64 = 1;
export const DELIMITED = 2;
const FIXED_32 = 5;
const KEY_OF_MAP = 1;
const VALUE_OF_MAP = 2;
/** Of 64 bits. */
const LAST_SHIFT = 63;

/** Part of the bytes, from `start` up to `end`. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Reads messages from one buffer. Throws API_BAD_PROTOBUF where lengths lead outside. */
export class ProtoReader {
  readonly #bytes: Buffer;
  readonly #texts: RecentTexts;
  readonly #doing: string;
  #at = 0;

  /** `doing`: for error messages: `cannot list pods`. */
  constructor(doing: string, bytes: Buffer) {
    this.#doing = doing;
    this.#bytes = bytes;
    this.#texts = new RecentTexts(bytes);
  }

  /** The delimited fields of a message by number, each as where its value stands. */
  *fields({ start, end }: ByteRange): Generator<ByteRange & { readonly number: number }> {
    this.#at = start;
    while (this.isBefore(end)) {
      const tag = this.tag();
      if (isDelimited(tag)) {
        const last = this.open(end);
        yield { number: tag >>> 3, start: this.#at, end: last };
        this.close(last);
      } else this.skip(tag, end);
    }
  }

  message(message: ProtoMessage, { start, end }: ByteRange): Record<string, unknown> {
    this.#at = start;
    return this.#message(message, end);
  }

  /** The message that comes next and ends there. */
  messageHere(message: ProtoMessage, end: number): Record<string, unknown> {
    return this.#message(message, end);
  }

  /** Whether there is more of what ends there. */
  isBefore(end: number): boolean {
    return this.#at < end;
  }

  /** The next field's number times eight, and its wire type. */
  tag(): number {
    return this.integer();
  }

  /** Enters a delimited value within what ends at `end`; where it ends itself. */
  open(end: number): number {
    const length = this.integer();
    const last = this.#at + length;
    if (length < 0 || last > end) throw this.malformed();
    return last;
  }

  /** Passes over what is left of the value that ends there. */
  close(end: number): void {
    this.#at = end;
  }

  /** Passes over the value of a field that is not wanted. */
  skip(tag: number, end: number): void {
    const wireType = tag & 7;
    if (wireType === VARINT) this.integer();
    else if (wireType === DELIMITED) this.#at = this.open(end);
    else if (wireType === FIXED_64) this.#at += 8;
    else if (wireType === FIXED_32) this.#at += 4;
    else throw this.malformed();
    if (this.#at > end) throw this.malformed();
  }

  /** An int32 or bool: the low 32 bits. */
  integer(): number {
    const bytes = this.#bytes;
    let byte = bytes[this.#at++];
    if (byte === undefined) throw this.malformed();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let shift = 7; byte >= 0x80; shift += 7) {
      byte = bytes[this.#at++];
      if (byte === undefined || shift > LAST_SHIFT) throw this.malformed();
      if (shift < 32) value |= (byte & 0x7f) << shift;
    }
    return value;
  }

  text(end: number): string {
    const text = this.#texts.read(this.#at, end);
    this.#at = end;
    return text;
  }

  /** A text of ASCII alone that hardly comes twice; what is not ASCII becomes something else that is not. */
  asciiText(end: number): string {
    const text = this.#bytes.toString('latin1', this.#at, end);
    this.#at = end;
    return text;
  }

  /** Whether the text that comes next, and ends there, is this one, of ASCII. */
  isText(text: string, end: number): boolean {
    return this.#texts.is(text, this.#at, end);
  }

  malformed(): FlatnetError {
    return new FlatnetError(`${this.#doing}: the server's answer is malformed protobuf`, {
      code: 'API_BAD_PROTOBUF',
      retryable: true,
      hint: 'is the server address that of a Kubernetes API?',
    });
  }

  #message({ fields }: ProtoMessage, end: number): Record<string, unknown> {
    const object: Record<string, unknown> = {};
    while (this.#at < end) {
      const tag = this.tag();
      const field = fields[tag >>> 3];
      if (field === undefined) this.skip(tag, end);
      else if (field.type === 'integer' || field.type === 'boolean') {
        if ((tag & 7) !== VARINT) throw this.malformed();
        const value = this.integer();
        put(object, field, field.type === 'boolean' ? value !== 0 : value);
      } else {
        if (!isDelimited(tag)) throw this.malformed();
        this.#putDelimited(object, field, this.open(end));
      }
    }
    if (this.#at !== end) throw this.malformed();
    return object;
  }

  #putDelimited(object: Record<string, unknown>, field: ProtoField, end: number): void {
    const { name, type, keys, message, read } = field;
    if (type === 'text') {
      const text = this.text(end);
      // As in JSON: of plain fields Go writes the empty text too, of those whose absence says more nothing at all.
      if (text !== '' || field.repeated) put(object, field, text);
    } else if (read !== undefined) put(object, field, read(this, end));
    else if (message !== undefined) put(object, field, this.#message(message, end));
    else this.#putEntry((object[name] ??= {}) as Record<string, string>, keys, end);
  }

  #putEntry(map: Record<string, string>, keys: readonly string[], end: number): void {
    let key: string | undefined = '';
    let value = '';
    while (this.#at < end) {
      const tag = this.tag();
      if (!isDelimited(tag)) throw this.malformed();
      const last = this.open(end);
      if (tag >>> 3 === KEY_OF_MAP) {
        key = keys.find((one) => this.isText(one, last));
        if (key === undefined) break;
      } else if (tag >>> 3 === VALUE_OF_MAP) value = this.text(last);
      this.close(last);
    }
    this.close(end);
    if (key !== undefined && keys.includes(key)) map[key] = value;
  }
}

export function isDelimited(tag: number): boolean {
  return (tag & 7) === DELIMITED;
}

function put(object: Record<string, unknown>, { name, repeated }: ProtoField, value: unknown): void {
  if (!repeated) object[name] = value;
  else if (object[name] === undefined) object[name] = [value];
  else (object[name] as unknown[]).push(value);
}
