import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Ip } from '../../net/ip.ts';
import { formatOwner, parseOwner, type Owner } from './reservation.ts';

const LAST_RESERVED_PREFIX = 'last_reserved_ip.';

/** One file of the folder as found: without owner when a crash left it empty. */
export interface FoundReservation {
  readonly ip: Ip;
  readonly owner: Owner | undefined;
}

/**
 * The folder `/var/lib/cni/networks/<net>/` in host-local's layout: a file per reserved address, named like it
 * (IPv6 in canonical text), holding `containerID\r\nifname`; `last_reserved_ip.<rangeIdx>`; `lock`.
 *
 * Every call is synchronous, so none sees another half done. Exclusion against other processes is the file system's
 * own: O_EXCL fails where the name exists. No fsync: what a power cut can lose is the reservation of a pod that the
 * same power cut ended.
 */
export class ReservationFolder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Opens the folder, made if missing. Throws IPAM_IO naming it. */
  static open(path: string): ReservationFolder {
    const folder = new ReservationFolder(path);
    folder.#io('open', path, () => {
      makeFolder(path);
      // host-local takes flock(2) on this file; made here so that the layout is complete for it.
      writeFileSync(join(path, 'lock'), '', { flag: 'a', mode: 0o600 });
    });
    return folder;
  }

  list(): FoundReservation[] {
    return this.#io('read', this.path, () => {
      const found: FoundReservation[] = [];
      for (const name of readdirSync(this.path)) {
        const ip = Ip.tryParse(name);
        if (ip !== undefined && this.#isThere(ip)) found.push({ ip, owner: this.ownerOf(ip) });
      }
      return found;
    });
  }

  /** Owner of one address as the disk says now; undefined when it is free or its file is empty. */
  ownerOf(ip: Ip): Owner | undefined {
    try {
      // What is no file holds the address too, and may never end when read.
      return this.#isFile(ip) ? parseOwner(readFileSync(this.#file(ip), 'utf8')) : undefined;
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw ioError('read', this.#file(ip), error);
    }
  }

  /** Milliseconds since the reservation was written; undefined when it is gone. */
  ageMs(ip: Ip, now: number): number | undefined {
    const stat = statSync(this.#file(ip), { throwIfNoEntry: false });
    return stat === undefined ? undefined : now - stat.mtimeMs;
  }

  /**
   * Reserves `ip`; false when somebody holds it already. Throws IPAM_IO (full disk, read-only) and leaves nothing
   * behind. A process killed between creating and writing leaves an empty file, which `list` tells by its missing
   * owner.
   */
  reserve(ip: Ip, owner: Owner): boolean {
    const file = this.#file(ip);
    const content = formatOwner(owner);
    try {
      writeFileSync(file, content, { flag: 'wx', mode: 0o600 });
      return true;
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return false;
      removeFile(file);
      throw ioError('write', file, error);
    }
  }

  /** Frees `ip`; true also when it was free. Throws IPAM_IO. */
  release(ip: Ip): void {
    this.#io('remove', this.#file(ip), () => {
      removeFile(this.#file(ip));
    });
  }

  /** Where the round-robin of a range stands; undefined when never used or not readable as an address. */
  lastReserved(rangeIndex: number): Ip | undefined {
    try {
      return Ip.tryParse(readFileSync(this.#lastFile(rangeIndex), 'utf8').trim());
    } catch {
      // Losing it costs nothing but the order in which addresses are handed out.
      return undefined;
    }
  }

  /**
   * Written in place: to truncate and to allocate again costs the file system more than all the rest of a reservation.
   * Not atomic: what is torn by a crash costs nothing but the order in which addresses are handed out.
   */
  writeLastReserved(rangeIndex: number, ip: Ip): void {
    const file = this.#lastFile(rangeIndex);
    this.#io('write', file, () => {
      const text = ip.toString();
      const fd = openSync(file, constants.O_WRONLY | constants.O_CREAT, 0o600);
      try {
        writeSync(fd, text, 0);
        // host-local takes the whole of it for the address.
        if (fstatSync(fd).size > text.length) ftruncateSync(fd, text.length);
      } finally {
        closeSync(fd);
      }
    });
  }

  #isThere(ip: Ip): boolean {
    return lstatSync(this.#file(ip), { throwIfNoEntry: false }) !== undefined;
  }

  #isFile(ip: Ip): boolean {
    return statSync(this.#file(ip), { throwIfNoEntry: false })?.isFile() === true;
  }

  #file(ip: Ip): string {
    return join(this.path, ip.toString());
  }

  #lastFile(rangeIndex: number): string {
    return join(this.path, `${LAST_RESERVED_PREFIX}${rangeIndex}`);
  }

  #io<T>(verb: string, file: string, action: () => T): T {
    try {
      return action();
    } catch (error) {
      throw ioError(verb, file, error);
    }
  }
}

/** With its parents. Node's own `recursive` never ends where a folder takes no new ones, as those of /proc. */
function makeFolder(path: string): void {
  try {
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if (isErrno(error, 'EEXIST')) return;
    const parent = dirname(path);
    if (!isErrno(error, 'ENOENT') || statSync(parent, { throwIfNoEntry: false }) !== undefined) throw error;
    makeFolder(parent);
    makeFolder(path);
  }
}

function removeFile(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
}

const isErrno = (error: unknown, code: string): boolean => errnoOf(error) === code;

function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: free space or inodes on it, then the runtime tries again by itself',
  EDQUOT: 'the disk quota is used up: raise it or free space',
  EROFS: 'the file system is read-only: remount it writable, or mount the folder into the agent writable',
  EACCES: 'the agent must run as root and the folder must be readable and writable for it',
  EPERM: 'the agent must run as root and the folder must not be immutable',
  ENOTDIR: 'a file stands where the folder should be: remove it',
};

function ioError(verb: string, file: string, error: unknown): FlatnetError {
  if (error instanceof FlatnetError) return error;
  const errno = errnoOf(error);
  const hint = errno === undefined ? undefined : HINTS[errno];
  return new FlatnetError(
    `cannot ${verb} ${file}: ${error instanceof Error ? error.message : String(error)}`,
    {
      code: 'IPAM_IO',
      retryable: errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'EMFILE' || errno === 'ENFILE',
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    },
  );
}
