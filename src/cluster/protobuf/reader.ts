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

  get #isOutside(): boolean {
    return this.#at > this.#bytes.length;
  }

  /** The fields of a message by number, each as where its value stands; numbers stand in `start`. */
  *fields({ start, end }: ByteRange): Generator<ByteRange & { readonly number: number }> {
    this.#at = start;
    while (this.#at < end) {
      const tag = this.#varint();
      if ((tag & 7) === DELIMITED) {
        const last = this.#delimited(end);
        const from = this.#at;
        yield { number: tag >>> 3, start: from, end: last };
        this.#at = last;
      } else this.#skip(tag & 7, end);
    }
  }

  message(message: ProtoMessage, { start, end }: ByteRange): Record<string, unknown> {
    this.#at = start;
    return this.#message(message, end);
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
      const tag = this.#varint();
      const field = fields[tag >>> 3];
      if (field === undefined) this.#skip(tag & 7, end);
      else if (field.type === 'integer' || field.type === 'boolean') {
        if ((tag & 7) !== VARINT) throw this.malformed();
        const value = this.#varint() | 0;
        put(object, field, field.type === 'boolean' ? value !== 0 : value);
      } else {
        if ((tag & 7) !== DELIMITED) throw this.malformed();
        this.#putDelimited(object, field, this.#delimited(end));
      }
    }
    if (this.#at !== end) throw this.malformed();
    return object;
  }

  #putDelimited(object: Record<string, unknown>, field: ProtoField, end: number): void {
    const { name, type, keys, message } = field;
    if (type === 'text') {
      const text = this.#text(end);
      // As in JSON: of plain fields Go writes the empty text too, of those whose absence says more nothing at all.
      if (text !== '' || field.repeated) put(object, field, text);
    } else if (message !== undefined) put(object, field, this.#message(message, end));
    else this.#putEntry((object[name] ??= {}) as Record<string, string>, keys, end);
  }

  #putEntry(map: Record<string, string>, keys: readonly string[], end: number): void {
    let key: string | undefined = '';
    let value = '';
    while (this.#at < end) {
      const tag = this.#varint();
      if ((tag & 7) !== DELIMITED) throw this.malformed();
      const last = this.#delimited(end);
      if (tag >>> 3 === KEY_OF_MAP) {
        key = this.#knownText(keys, last);
        if (key === undefined) break;
        this.#at = last;
      } else if (tag >>> 3 === VALUE_OF_MAP) value = this.#text(last);
      else this.#at = last;
    }
    this.#at = end;
    if (key !== undefined && keys.includes(key)) map[key] = value;
  }

  /** Which of these texts stands here. */
  #knownText(texts: readonly string[], end: number): string | undefined {
    for (const text of texts) if (this.#texts.is(text, this.#at, end)) return text;
    return undefined;
  }

  #text(end: number): string {
    const text = this.#texts.read(this.#at, end);
    this.#at = end;
    return text;
  }

  /** Passes over a length; where what it is of ends. */
  #delimited(end: number): number {
    const length = this.#varint();
    const last = this.#at + length;
    if (length < 0 || last > end) throw this.malformed();
    return last;
  }

  #skip(wireType: number, end: number): void {
    if (wireType === VARINT) this.#varint();
    else if (wireType === DELIMITED) this.#at = this.#delimited(end);
    else if (wireType === FIXED_64) this.#at += 8;
    else if (wireType === FIXED_32) this.#at += 4;
    else throw this.malformed();
    if (this.#at > end) throw this.malformed();
  }

  /** Its low 32 bits, which is all that int32 needs. */
  #varint(): number {
    const bytes = this.#bytes;
    let byte = bytes[this.#at++] ?? 0;
    if (byte < 0x80) return this.#checked(byte);
    let value = byte & 0x7f;
    for (let shift = 7; byte >= 0x80; shift += 7) {
      if (shift > LAST_SHIFT) throw this.malformed();
      byte = bytes[this.#at++] ?? 0;
      if (shift < 32) value |= (byte & 0x7f) << shift;
    }
    return this.#checked(value);
  }

  #checked(value: number): number {
    if (this.#isOutside) throw this.malformed();
    return value;
  }
}

function put(object: Record<string, unknown>, { name, repeated }: ProtoField, value: unknown): void {
  if (!repeated) object[name] = value;
  else if (object[name] === undefined) object[name] = [value];
  else (object[name] as unknown[]).push(value);
}
