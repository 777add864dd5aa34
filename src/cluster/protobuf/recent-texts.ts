const PLACES = 256;
/** Longer ones hardly come again. */
const LONGEST = 32;

/**
 * Makes texts of parts of a buffer. In lists of objects the same come again and again (names of nodes, zones, ports):
 * the one that was made is given again.
 */
export class RecentTexts {
  readonly #bytes: Buffer;
  /** By a sum of their bytes. */
  readonly #texts: string[] = Array.from({ length: PLACES }, () => '');

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  read(start: number, end: number): string {
    const bytes = this.#bytes;
    let sum = 0;
    for (let at = start; at < end; at += 1) {
      const byte = bytes[at] ?? 0;
      if (byte >= 0x80) return bytes.toString('utf8', start, end);
      sum = (sum * 31 + byte) | 0;
    }
    if (end - start > LONGEST) return bytes.toString('latin1', start, end);
    const place = (sum ^ (sum >>> 8)) & (PLACES - 1);
    const known = this.#texts[place] ?? '';
    if (this.is(known, start, end)) return known;
    const text = bytes.toString('latin1', start, end);
    this.#texts[place] = text;
    return text;
  }

  /** Whether this text, of ASCII alone, stands there. */
  is(text: string, start: number, end: number): boolean {
    if (text.length !== end - start) return false;
    for (let i = 0; i < text.length; i += 1) if (this.#bytes[start + i] !== text.charCodeAt(i)) return false;
    return true;
  }
}
