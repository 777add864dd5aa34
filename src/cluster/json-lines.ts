const NEWLINE = 0x0a;

/**
 * Cuts a stream of bytes into lines. What has no newline yet is kept as the pieces it came in and joined once,
 * so a line of n bytes costs n, however small the pieces. A newline byte is never part of a UTF-8 sequence.
 */
export class LineCutter {
  #pieces: Buffer[] = [];

  /** The lines that this chunk completes, without their newline; blank lines are left out. */
  push(chunk: Uint8Array): string[] {
    const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    const lines: string[] = [];
    let start = 0;
    for (let end = buffer.indexOf(NEWLINE); end >= 0; end = buffer.indexOf(NEWLINE, start)) {
      const line = this.#finish(buffer.subarray(start, end));
      if (line !== '') lines.push(line);
      start = end + 1;
    }
    if (start < buffer.length) this.#pieces.push(buffer.subarray(start));
    return lines;
  }

  #finish(last: Buffer): string {
    if (this.#pieces.length === 0) return last.toString('utf8').trim();
    const whole = Buffer.concat([...this.#pieces, last]);
    this.#pieces = [];
    return whole.toString('utf8').trim();
  }
}
