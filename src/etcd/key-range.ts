/** One key, or all keys that begin with it. */
export interface KeyRange {
  readonly key: string;
  readonly isPrefix: boolean;
}

/**
 * The end (exclusive) of the range of keys that begin with `prefix`, which is not empty: its last byte made one larger.
 * UTF-8 has no byte that could not be.
 */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  const last = end.length - 1;
  end.writeUInt8(end.readUInt8(last) + 1, last);
  return end;
}
