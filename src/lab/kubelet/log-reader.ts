import { once } from 'node:events';
import { open, type FileHandle } from 'node:fs/promises';
import { StringDecoder } from 'node:string_decoder';
import type { Writable } from 'node:stream';
import type { ContainerLog } from './container-log.ts';
import { parseLogEntry, renderLogEntry, type LogSelection } from './log-format.ts';

export interface LogRequest extends LogSelection {
  readonly follow: boolean;
  /** Only so many entries from the end. */
  readonly tailLines?: number | undefined;
  readonly limitBytes?: number | undefined;
}

const CHUNK_BYTES = 64 * 1024;

/** Writes what the request asks for of a container's log; ends with the log's end, the limit or the signal. */
export async function copyLog(
  log: ContainerLog,
  request: LogRequest,
  into: Writable,
  signal: AbortSignal,
): Promise<void> {
  const file = await open(log.path, 'r');
  try {
    const start = request.tailLines === undefined ? 0 : await tailOffset(file, request.tailLines);
    await new LogCopy(file, log, request, into, signal).run(start);
  } finally {
    await file.close();
  }
}

/** Offset at which the last `lines` entries begin. */
async function tailOffset(file: FileHandle, lines: number): Promise<number> {
  let { size: end } = await file.stat();
  let left = lines + 1;
  const size = end;
  while (end > 0) {
    const begin = Math.max(0, end - CHUNK_BYTES);
    const { buffer } = await file.read(Buffer.alloc(end - begin), 0, end - begin, begin);
    for (let at = buffer.length - 1; at >= 0; at -= 1) {
      if (buffer[at] !== 0x0a) continue;
      left -= 1;
      if (left === 0) return begin + at + 1;
    }
    end = begin;
  }
  return lines === 0 ? size : 0;
}

class LogCopy {
  readonly #file: FileHandle;
  readonly #log: ContainerLog;
  readonly #request: LogRequest;
  readonly #into: Writable;
  readonly #signal: AbortSignal;
  #offset = 0;
  #left: number;
  #rest = '';
  readonly #decoder = new StringDecoder('utf8');

  constructor(file: FileHandle, log: ContainerLog, request: LogRequest, into: Writable, signal: AbortSignal) {
    this.#file = file;
    this.#log = log;
    this.#request = request;
    this.#into = into;
    this.#signal = signal;
    this.#left = request.limitBytes ?? Infinity;
  }

  async run(start: number): Promise<void> {
    this.#offset = start;
    for (;;) {
      // Asked before reading: what is written between the two is found in the next round.
      const isLast = this.#log.ended || !this.#request.follow;
      await this.#copyWhatIsThere();
      if (isLast || this.#left <= 0 || this.#signal.aborted) return;
      if ((await this.#file.stat()).size > this.#offset || this.#log.ended) continue;
      await this.#moreOrEnd();
    }
  }

  async #moreOrEnd(): Promise<void> {
    const waiting = new AbortController();
    const signal = AbortSignal.any([this.#signal, waiting.signal]);
    const wait = async (event: string): Promise<void> => {
      await once(this.#log, event, { signal }).catch(() => undefined);
    };
    await Promise.race([wait('written'), wait('ended')]);
    waiting.abort();
  }

  async #copyWhatIsThere(): Promise<void> {
    const buffer = Buffer.alloc(CHUNK_BYTES);
    while (this.#left > 0 && !this.#signal.aborted) {
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.#offset);
      if (bytesRead === 0) return;
      this.#offset += bytesRead;
      const lines = (this.#rest + this.#decoder.write(buffer.subarray(0, bytesRead))).split('\n');
      this.#rest = lines.pop() ?? '';
      await this.#write(lines.map((line) => this.#render(line)).join(''));
    }
  }

  #render(line: string): string {
    const entry = parseLogEntry(line);
    return entry === undefined ? '' : renderLogEntry(entry, this.#request);
  }

  async #write(text: string): Promise<void> {
    const bytes = Buffer.from(text).subarray(0, this.#left);
    if (bytes.length === 0) return;
    this.#left -= bytes.length;
    if (!this.#into.write(bytes))
      await once(this.#into, 'drain', { signal: this.#signal }).catch(() => undefined);
  }
}
