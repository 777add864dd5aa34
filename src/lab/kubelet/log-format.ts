/** Lines longer than this are written in parts, as the CRI wants them. */
const MAX_LINE = 16 * 1024;

export type LogStream = 'stdout' | 'stderr';

/** Splits what a container writes into entries of the CRI log format: `TIME STREAM F|P TEXT`. */
export class LogSplitter {
  readonly #stream: LogStream;
  #rest: Buffer = Buffer.alloc(0);

  constructor(stream: LogStream) {
    this.#stream = stream;
  }

  /** Complete entries for `chunk`; an unfinished line is kept until the next call. */
  push(chunk: Buffer, time: string): string {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let entries = '';
    for (let end = data.indexOf(0x0a); end >= 0 || data.length >= MAX_LINE; end = data.indexOf(0x0a)) {
      const full = end >= 0 && end < MAX_LINE;
      const length = full ? end : MAX_LINE;
      entries += this.#entry(data.subarray(0, length), time, full);
      data = data.subarray(full ? length + 1 : length);
    }
    this.#rest = Buffer.from(data);
    return entries;
  }

  /** The unfinished line at the end of the stream. */
  end(time: string): string {
    const rest = this.#rest;
    this.#rest = Buffer.alloc(0);
    return rest.length === 0 ? '' : this.#entry(rest, time, false);
  }

  #entry(text: Buffer, time: string, full: boolean): string {
    return `${time} ${this.#stream} ${full ? 'F' : 'P'} ${text.toString('utf8')}\n`;
  }
}

export interface LogEntry {
  readonly time: string;
  readonly stream: string;
  readonly full: boolean;
  readonly text: string;
}

/** One line of a log file; undefined for what is no entry. */
export function parseLogEntry(line: string): LogEntry | undefined {
  const match = /^(\S+) (stdout|stderr) ([FP]) ?(.*)$/s.exec(line);
  if (match === null) return undefined;
  const [, time = '', stream = '', tag, text = ''] = match;
  return { time, stream, full: tag === 'F', text };
}

export interface LogSelection {
  readonly timestamps?: boolean;
  /** RFC 3339; entries before it are left out. */
  readonly since?: Date | undefined;
}

/** What `kubectl logs` shows of an entry; empty where it is left out. */
export function renderLogEntry(entry: LogEntry, selection: LogSelection): string {
  if (selection.since !== undefined && new Date(entry.time) < selection.since) return '';
  return `${selection.timestamps === true ? `${entry.time} ` : ''}${entry.text}${entry.full ? '\n' : ''}`;
}
