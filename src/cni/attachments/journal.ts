import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';

/** A line that is valid, and where it begins in the file. */
export interface JournalLine {
  readonly text: string;
  readonly offset: number;
}

/** First byte of a line that counts no more; none of JSON begins so. */
const STRUCK = '#';
const NEW_LINE = 0x0a;

/**
 * A file of lines that are added at its end and struck out in place. Both are one small write into a file that is
 * there: to make a file for each would cost the file system tens of times as much. A line that a killed process has
 * written in part has no end, and is passed over. To strike out takes no room, so it succeeds on a full disk. No fsync.
 */
export class Journal {
  readonly path: string;
  #size = 0;
  #inode: number | undefined;

  constructor(path: string) {
    this.path = path;
  }

  /** Bytes, struck lines included. */
  get size(): number {
    return this.#size;
  }

  /** What is there; nothing where there is no file. Throws the file system's errors, as all below. */
  read(): JournalLine[] {
    let fd: number;
    try {
      fd = openSync(this.path, constants.O_RDONLY);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
    try {
      const data = readFileSync(fd);
      this.#inode = fstatSync(fd).ino;
      this.#size = data.lastIndexOf(NEW_LINE) + 1;
      return linesOf(data.subarray(0, this.#size));
    } finally {
      closeSync(fd);
    }
  }

  /** Returns where the line begins; undefined when the file is not the one that was read: write it anew. */
  append(text: string): number | undefined {
    return this.#open((fd, size) => {
      const offset = this.#size;
      // What a killed process has left behind the last line.
      if (size > offset) ftruncateSync(fd, offset);
      const line = Buffer.from(`${text}\n`, 'utf8');
      try {
        if (writeSync(fd, line, 0, line.length, offset) < line.length) throw diskFull(this.path);
      } catch (error) {
        ftruncateSync(fd, offset);
        throw error;
      }
      this.#size = offset + line.length;
      return offset;
    });
  }

  /** False when the file is not the one that was read: write it anew. */
  strike(offset: number): boolean {
    return this.#open((fd) => writeSync(fd, STRUCK, offset)) !== undefined;
  }

  /** Puts a file with these lines in the place of whatever is there, in one step. Returns where each begins. */
  rewrite(texts: readonly string[]): number[] {
    const lines = texts.map((text) => Buffer.from(`${text}\n`, 'utf8'));
    const temporary = `${this.path}.tmp`;
    try {
      const data = Buffer.concat(lines);
      const fd = openSync(temporary, 'w', 0o600);
      let inode: number;
      try {
        if (writeSync(fd, data) < data.length) throw diskFull(this.path);
        inode = fstatSync(fd).ino;
      } finally {
        closeSync(fd);
      }
      renameSync(temporary, this.path);
      // Not before: where it fails, the file that is there goes on being written.
      this.#inode = inode;
      this.#size = data.length;
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    let at = 0;
    return lines.map((line) => (at += line.length) - line.length);
  }

  /** Opened each time: somebody may have removed the file, or put another in its place. */
  #open<T>(action: (fd: number, size: number) => T): T | undefined {
    let fd: number;
    try {
      fd = openSync(this.path, constants.O_WRONLY);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const { ino, size } = fstatSync(fd);
      return ino === this.#inode && size >= this.#size ? action(fd, size) : undefined;
    } finally {
      closeSync(fd);
    }
  }
}

function linesOf(data: Buffer): JournalLine[] {
  const found: JournalLine[] = [];
  for (let offset = 0; offset < data.length;) {
    const end = data.indexOf(NEW_LINE, offset);
    const text = data.toString('utf8', offset, end);
    if (text !== '' && !text.startsWith(STRUCK)) found.push({ text, offset });
    offset = end + 1;
  }
  return found;
}

const diskFull = (path: string): Error =>
  Object.assign(new Error(`ENOSPC: no space left on device, write '${path}'`), { code: 'ENOSPC' });
