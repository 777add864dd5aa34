import type { NftElement } from './objects.ts';

const FIRST_CAPACITY = 16;

/**
 * Elements whose keys and values are all of one length, as bytes one behind the other: what a set gets at a first
 * sync. A hundred thousand of them as objects and strings would keep the garbage collector busy for longer than the
 * kernel is with them.
 */
export class PackedElements implements Iterable<NftElement> {
  readonly #keyLength: number;
  readonly #valueLength: number;
  #bytes: Buffer;
  #length = 0;

  /** Lengths in bytes; a value of none: the elements of a set. */
  constructor(keyLength: number, valueLength: number) {
    this.#keyLength = keyLength;
    this.#valueLength = valueLength;
    this.#bytes = Buffer.allocUnsafe(FIRST_CAPACITY * (keyLength + valueLength));
  }

  get length(): number {
    return this.#length;
  }

  push(key: string, value = ''): void {
    const size = this.#keyLength + this.#valueLength;
    let at = this.#length * size;
    if (at + size > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(this.#bytes.length * 2);
      this.#bytes.copy(grown, 0, 0, at);
      this.#bytes = grown;
    }
    const bytes = this.#bytes;
    for (let i = 0; i < this.#keyLength; i += 1) bytes[at++] = key.charCodeAt(i);
    for (let i = 0; i < this.#valueLength; i += 1) bytes[at++] = value.charCodeAt(i);
    this.#length += 1;
  }

  /** Undefined behind the last. */
  at(index: number): NftElement | undefined {
    if (index < 0 || index >= this.#length) return undefined;
    const start = index * (this.#keyLength + this.#valueLength);
    const middle = start + this.#keyLength;
    const key = this.#bytes.toString('latin1', start, middle);
    if (this.#valueLength === 0) return { key };
    return { key, value: this.#bytes.toString('latin1', middle, middle + this.#valueLength) };
  }

  /** Writes one element's key and value into places of a message. */
  copyTo(index: number, target: Buffer, keyAt: number, valueAt: number): void {
    const bytes = this.#bytes;
    let from = index * (this.#keyLength + this.#valueLength);
    for (let i = 0; i < this.#keyLength; i += 1) target[keyAt + i] = bytes[from++] ?? 0;
    for (let i = 0; i < this.#valueLength; i += 1) target[valueAt + i] = bytes[from++] ?? 0;
  }

  *[Symbol.iterator](): Iterator<NftElement> {
    for (let index = 0; index < this.#length; index += 1) {
      const element = this.at(index);
      if (element !== undefined) yield element;
    }
  }
}
