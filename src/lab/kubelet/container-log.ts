import { EventEmitter } from 'node:events';
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { LogSplitter, type LogStream } from './log-format.ts';

/** Bytes of one container run that are kept; what comes after is dropped, so no pod can fill the disk. */
const MAX_BYTES = 50 * 1024 * 1024;

/** The log file of one run of a container, written as the CRI prescribes. Emits `written` and `ended`. */
export class ContainerLog extends EventEmitter {
  readonly path: string;
  readonly #fd: number;
  #open = 0;
  #bytes = 0;
  #ended = false;
  #muted = false;

  constructor(path: string) {
    super();
    // Every follower of the log listens.
    this.setMaxListeners(0);
    mkdirSync(dirname(path), { recursive: true });
    this.path = path;
    this.#fd = openSync(path, 'a', 0o640);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** What still comes is not the container's: unshare(1) complains when its child is killed. */
  mute(): void {
    this.#muted = true;
  }

  /** Writes what the stream brings until it ends; the file is closed with the last stream. */
  capture(stream: Readable, name: LogStream): void {
    const splitter = new LogSplitter(name);
    this.#open += 1;
    stream.on('data', (chunk: Buffer) => this.#write(splitter.push(chunk, timestamp())));
    stream.once('error', () => stream.destroy());
    stream.once('close', () => {
      this.#write(splitter.end(timestamp()));
      this.#open -= 1;
      if (this.#open === 0) this.#end();
    });
  }

  #write(entries: string): void {
    if (entries === '' || this.#muted || this.#bytes > MAX_BYTES) return;
    try {
      this.#bytes += writeSync(this.#fd, entries);
    } catch {
      // A full disk must not end the container; the entry is lost.
    }
    this.emit('written');
  }

  #end(): void {
    this.#ended = true;
    closeSync(this.#fd);
    this.emit('ended');
  }
}

/** RFC 3339 with nanoseconds, as the CRI writes it. */
function timestamp(): string {
  return new Date().toISOString().replace('Z', '000000Z');
}
