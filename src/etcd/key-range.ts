/** One key, or all keys that begin with it. */
export interface KeyRange {
  readonly key: string;
  readonly isPrefix: boolean;
}

/** The end (exclusive) of the range of keys that begin with `prefix`: the last byte that can be, made one larger. */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  for (let index = end.length - 1; index >= 0; index -= 1) {
    const byte = end[index] ?? 0;
    if (byte === 0xff) continue;
    end[index] = byte + 1;
    return end.subarray(0, index + 1);
  }
  // etcd's way to write "to the very end".
  return Buffer.from([0]);
}
