import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Backoff, sleep } from '../../timing/backoff.ts';
import * as libc from '../libc/libc.ts';

/** Where every iptables-legacy takes its lock (iptables(8), XTABLES_LOCKFILE). */
const LOCK_FILE = '/run/xtables.lock';
const WAIT_MS = 30_000;
/** inotify(7) */
const IN_OPEN = 0x20;
const IN_MODIFY = 0x02;

/**
 * The lock that programs take while they change ip_tables. Whoever takes it opens its file first, and that the kernel
 * tells: so it is known, without reading any table, that nobody changed one. (Programs that change tables without the
 * lock would undo each other's changes even among themselves.)
 */
export class XtablesLock {
  readonly #path: string;
  #file: number | undefined;
  #watch: number | undefined;

  constructor(path = process.env['XTABLES_LOCKFILE'] ?? LOCK_FILE) {
    this.#path = path;
  }

  /** Runs `action` while nobody else has the lock. Throws IPTABLES_LOCKED when another keeps it. */
  async hold<T>(action: () => Promise<T>): Promise<T> {
    const file = this.#opened();
    const until = Date.now() + WAIT_MS;
    const backoff = new Backoff({ initialMs: 2, maxMs: 100 });
    while (!libc.tryLock(file)) {
      if (Date.now() > until) {
        throw new FlatnetError(`another program keeps the lock ${this.#path} for longer than 30 s`, {
          code: 'IPTABLES_LOCKED',
          hint: `\`fuser ${this.#path}\` tells which one`,
          retryable: true,
        });
      }
      await sleep(backoff.next(), NEVER);
    }
    try {
      return await action();
    } finally {
      libc.unlock(file);
    }
  }

  /** Whether somebody else may have had the lock since this was last asked; true when it cannot be known. */
  wasTaken(): boolean {
    const fresh = this.#file === undefined || fstatSync(this.#file).nlink === 0;
    this.#opened();
    if (this.#watch === undefined) return true;
    let taken = fresh;
    const events = Buffer.alloc(4096);
    for (;;) {
      try {
        if (readSync(this.#watch, events) === 0) return taken;
        taken = true;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return taken;
        throw error;
      }
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    if (this.#watch !== undefined) libc.close(this.#watch);
    this.#file = undefined;
    this.#watch = undefined;
  }

  #opened(): number {
    // Deleted, it is no longer the file that others lock.
    if (this.#file !== undefined && fstatSync(this.#file).nlink === 0) this.close();
    if (this.#file === undefined) {
      try {
        this.#file = openSync(this.#path, 'a+', 0o600);
      } catch (cause) {
        throw new FlatnetError(`open the lock of iptables ${this.#path}: ${(cause as Error).message}`, {
          code: 'IPTABLES_LOCK',
          hint: 'mount /run/xtables.lock of the host into the container',
          cause,
        });
      }
      this.#watch = this.#watched();
    }
    return this.#file;
  }

  #watched(): number | undefined {
    try {
      return libc.watchFile(this.#path, IN_OPEN | IN_MODIFY);
    } catch (error) {
      // No more inotify watches for this user: tables are read before each change then.
      if (error instanceof FlatnetError) return undefined;
      throw error;
    }
  }
}

const NEVER = new AbortController().signal;
