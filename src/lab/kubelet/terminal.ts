import { closeSync, constants, openSync } from 'node:fs';
import { ReadStream, WriteStream } from 'node:tty';
import { ioctl } from '../../kernel/libc/libc.ts';

// <asm-generic/ioctls.h>, the same on x86-64 and arm64.
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;
const TIOCSWINSZ = 0x5414;

/** A pseudo-terminal (pty(7)): the master as streams, the slave as a descriptor for a child process. */
export class Terminal {
  readonly output: ReadStream;
  readonly input: WriteStream;
  /** Becomes the child's standard input, output and error. */
  readonly slave: number;
  readonly #master: number;

  constructor() {
    const flags = constants.O_RDWR | constants.O_NOCTTY;
    this.#master = openSync('/dev/ptmx', flags | constants.O_NONBLOCK);
    ioctl(this.#master, TIOCSPTLCK, Buffer.alloc(4), 'unlock terminal');
    const number = Buffer.alloc(4);
    ioctl(this.#master, TIOCGPTN, number, 'find terminal');
    this.slave = openSync(`/dev/pts/${number.readUInt32LE()}`, flags);
    this.output = new ReadStream(this.#master);
    // A second stream needs a descriptor of its own: each closes what it was given.
    this.input = new WriteStream(openSync(`/proc/self/fd/${this.#master}`, flags));
  }

  resize(columns: number, rows: number): void {
    const size = Buffer.alloc(8);
    size.writeUInt16LE(rows, 0);
    size.writeUInt16LE(columns, 2);
    ioctl(this.#master, TIOCSWINSZ, size, 'resize terminal');
  }

  /** After the child has it. */
  closeSlave(): void {
    closeSync(this.slave);
  }
}
