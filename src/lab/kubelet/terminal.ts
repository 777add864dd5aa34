import { closeSync, constants, openSync } from 'node:fs';
import { ReadStream } from 'node:tty';
import { ioctl } from '../../kernel/libc/libc.ts';

// <asm-generic/ioctls.h>, the same on x86-64 and arm64.
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;
const TIOCSWINSZ = 0x5414;

/** A pseudo-terminal (pty(7)): the master as a stream, the slave as a descriptor for a child process. */
export class Terminal {
  /** Both directions: what is written is typed, what is read is shown. It owns the descriptor. */
  readonly stream: ReadStream;
  /** Becomes the child's standard input, output and error. */
  readonly slave: number;
  readonly #master: number;

  /** `devices`: the /dev/pts of the container, as the host reaches it; the terminal has its name there. */
  constructor(devices: string) {
    const flags = constants.O_RDWR | constants.O_NOCTTY;
    this.#master = openSync(`${devices}/ptmx`, flags | constants.O_NONBLOCK);
    ioctl(this.#master, TIOCSPTLCK, Buffer.alloc(4), 'unlock terminal');
    const number = Buffer.alloc(4);
    ioctl(this.#master, TIOCGPTN, number, 'find terminal');
    this.slave = openSync(`${devices}/${number.readUInt32LE()}`, flags);
    this.stream = new ReadStream(this.#master);
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
