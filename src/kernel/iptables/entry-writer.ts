import type { IpFamily } from '../../net/ip.ts';
import {
  entryLayout,
  ERROR_NAME,
  ERROR_TARGET,
  EXTENSION_HEADER,
  REPLACE_HEADER,
  STANDARD_TARGET,
  VERDICTS,
  type EntryLayout,
} from './legacy-layout.ts';

/** Entries of a table, one behind the other, after the space for the header with which they are sent. */
export class EntryWriter {
  readonly layout: EntryLayout;
  /** Where standard targets lead to chains, and to which: to be filled in when all chains have their place. */
  readonly jumps: { readonly at: number; readonly chain: string }[] = [];
  #bytes: Buffer;
  #size = 0;
  /** Entries that were written one by one. */
  written = 0;

  constructor(family: IpFamily, capacity: number) {
    this.layout = entryLayout(family);
    this.#bytes = Buffer.alloc(REPLACE_HEADER + capacity);
  }

  /** Bytes written, the header's space left out. All offsets are counted thus. */
  get size(): number {
    return this.#size;
  }

  /** The whole, with the header's space. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  clear(): void {
    this.#bytes.fill(0, 0, REPLACE_HEADER + this.#size);
    this.#size = 0;
    this.jumps.length = 0;
  }

  /** Takes `length` bytes of zeros; returns where they lie in `bytes`. */
  take(length: number): number {
    const at = REPLACE_HEADER + this.#size;
    if (at + length > this.#bytes.length) {
      const larger = Buffer.alloc(Math.ceil((at + length) * 1.2));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    this.#size += length;
    return at;
  }

  copy(from: Buffer, start: number, end: number): void {
    if (end <= start) return;
    const at = this.take(end - start);
    from.copy(this.#bytes, at, start, end);
  }

  /** A match or target extension; returns where what it carries begins. */
  extension(name: string, revision: number, dataSize: number): number {
    const size = EXTENSION_HEADER + align(dataSize);
    const at = this.take(size);
    this.#bytes.writeUInt16LE(size, at);
    this.#bytes.write(name, at + 2, 'latin1');
    this.#bytes[at + 31] = revision;
    return at + EXTENSION_HEADER;
  }

  /** A standard target: to a chain, to a verdict, or on to the next entry. */
  standard(verdict: number | 'next' | { readonly chain: string }): void {
    const at = this.extension('', 0, STANDARD_TARGET - EXTENSION_HEADER);
    if (typeof verdict === 'number') this.#bytes.writeInt32LE(verdict, at);
    else if (verdict === 'next') this.#bytes.writeInt32LE(this.#size, at);
    else this.jumps.push({ at: at - REPLACE_HEADER, chain: verdict.chain });
  }

  /** The entry with which a chain of this name begins, or with which the table ends. */
  head(name: string = ERROR_NAME): void {
    const start = this.begin();
    this.target(start);
    const at = this.extension(ERROR_NAME, 0, ERROR_TARGET - EXTENSION_HEADER);
    this.#bytes.write(name, at, 'latin1');
    this.end(start);
  }

  /** The entry with which a chain of users ends. */
  foot(): void {
    const start = this.begin();
    this.target(start);
    this.standard(VERDICTS.RETURN);
    this.end(start);
  }

  /** Begins an entry; returns where it lies in `bytes`. */
  begin(): number {
    return this.take(this.layout.size);
  }

  /** Matches are written: the target follows. */
  target(start: number): void {
    const offset = REPLACE_HEADER + this.#size - start;
    this.#bytes.writeUInt16LE(offset, start + this.layout.targetOffset);
  }

  end(start: number): void {
    const offset = REPLACE_HEADER + this.#size - start;
    this.#bytes.writeUInt16LE(offset, start + this.layout.nextOffset);
    this.written += 1;
  }
}

/** XT_ALIGN */
function align(size: number): number {
  return (size + 7) & ~7;
}
