import { FlatnetError } from '../../errors/flatnet-error.ts';

/** A reply of a Redis server (RESP2); errors are values here, `RespError`. */
export type RespValue = string | number | null | RespError | readonly RespValue[];

export class RespError {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

/** A command as an array of bulk strings: every argument may hold any octets. */
export function encodeCommand(args: readonly string[]): Buffer {
  const parts = args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`);
  return Buffer.from(`*${args.length}\r\n${parts.join('')}`);
}

/** Cuts a stream into replies, however the segments fell. */
export class RespDecoder {
  #pending: Buffer = Buffer.alloc(0);

  /** Takes the next octets; returns the replies that are complete now. Throws INVALID_RESP. */
  push(chunk: Buffer): RespValue[] {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    const values: RespValue[] = [];
    for (;;) {
      const read = readValue(this.#pending, 0);
      if (read === undefined) return values;
      values.push(read.value);
      this.#pending = this.#pending.subarray(read.end);
    }
  }
}

type Read = { readonly value: RespValue; readonly end: number };

function readValue(data: Buffer, at: number): Read | undefined {
  const lineEnd = data.indexOf('\r\n', at);
  if (lineEnd < 0) return undefined;
  const line = data.toString('utf8', at + 1, lineEnd);
  const next = lineEnd + 2;
  switch (data[at]) {
    case 0x2b: // +
      return { value: line, end: next };
    case 0x2d: // -
      return { value: new RespError(line), end: next };
    case 0x3a: // :
      return { value: Number(line), end: next };
    case 0x24: // $
      return readBulk(data, next, Number(line));
    case 0x2a: // *
      return readArray(data, next, Number(line));
    default:
      throw new FlatnetError('the server does not speak the Redis protocol', { code: 'INVALID_RESP' });
  }
}

function readBulk(data: Buffer, at: number, length: number): Read | undefined {
  if (length < 0) return { value: null, end: at };
  const end = at + length;
  if (data.length < end + 2) return undefined;
  return { value: data.toString('utf8', at, end), end: end + 2 };
}

function readArray(data: Buffer, at: number, count: number): Read | undefined {
  const values: RespValue[] = [];
  let end = at;
  for (let i = 0; i < count; i += 1) {
    const read = readValue(data, end);
    if (read === undefined) return undefined;
    values.push(read.value);
    end = read.end;
  }
  return { value: count < 0 ? null : values, end };
}
