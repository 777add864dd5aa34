import { closeSync, constants, fstatSync, mkdirSync, openSync, readdirSync, unlinkSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import * as libc from '../libc/libc.ts';

/** Where `ip netns` keeps its named network namespaces; ours are the same. */
export const NETNS_DIRECTORY = '/run/netns';

const SELF = '/proc/thread-self/ns/net';

/** An open network namespace. The descriptor keeps the namespace alive; close it when done. */
export class Netns {
  readonly fd: number;
  /** Identifies the namespace on this machine: inode of the nsfs file, as in `/proc/PID/ns/net`. */
  readonly inode: bigint;

  private constructor(fd: number) {
    this.fd = fd;
    this.inode = fstatSync(fd, { bigint: true }).ino;
  }

  /** By path, such as `/var/run/netns/x` or `/proc/PID/ns/net`. Throws NETNS_NOT_FOUND. */
  static open(path: string): Netns {
    try {
      // Paths come from container runtimes: a named pipe would block the process for ever.
      return new Netns(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
    } catch (cause) {
      throw new FlatnetError(`open network namespace ${path}: ${(cause as Error).message}`, {
        code: 'NETNS_NOT_FOUND',
        hint: 'the pod or process it belonged to may be gone',
        cause,
      });
    }
  }

  static ofPid(pid: number): Netns {
    return Netns.open(`/proc/${pid}/ns/net`);
  }

  static named(name: string): Netns {
    return Netns.open(netnsPath(name));
  }

  /** The namespace that the calling thread is in. */
  static current(): Netns {
    return Netns.open(SELF);
  }

  /** A new namespace without a name: gone when nothing in it runs and all its descriptors are closed. */
  static createAnonymous(): Netns {
    return inNewNetns(() => Netns.current());
  }

  /** As `withNetns`. */
  run<T>(action: () => T): T {
    return withNetns(this.fd, action);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/**
 * Enters the namespace, runs `action`, comes back. `action` must be synchronous: after an await it would go on
 * outside, and everything else in the process inside; a function that returns a promise is refused (NETNS_ASYNC).
 * What `action` opens (sockets, files under /proc/sys/net, child processes) stays in the namespace.
 */
export function withNetns<T>(fd: number, action: () => T): T {
  if (action.constructor.name === 'AsyncFunction') throw refuseAsync();
  const home = openSync(SELF, 'r');
  let result: T;
  try {
    libc.setns(fd, libc.CLONE_NEWNET);
    try {
      result = action();
    } finally {
      comeBack(home);
    }
  } finally {
    closeSync(home);
  }
  if (isThenable(result)) throw refuseAsync();
  return result;
}

/**
 * Creates a persistent namespace `/run/netns/NAME`, as `ip netns add` does; its loopback is down. Throws EEXIST.
 * The calling thread is in the new namespace only for the moment of the bind mount.
 */
export function createNetns(name: string): void {
  const path = netnsPath(name);
  prepareDirectory();
  try {
    closeSync(openSync(path, 'wx', 0o444));
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'EIO';
    throw new FlatnetError(`create network namespace ${name}: ${(cause as Error).message}`, { code, cause });
  }
  try {
    inNewNetns(() => libc.mount(SELF, path, 'none', libc.MS_BIND));
  } catch (error) {
    unlinkSync(path);
    throw error;
  }
}

/** Removes the name; the namespace itself goes when nothing uses it any more. True when it was there. */
export function deleteNetns(name: string): boolean {
  const path = netnsPath(name);
  try {
    libc.umount(path, libc.MNT_DETACH);
  } catch (error) {
    // EINVAL: a file left behind without a mount; ENOENT: no such name.
    if (!(error instanceof FlatnetError) || !['EINVAL', 'ENOENT'].includes(error.code)) throw error;
  }
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Names under /run/netns, also those that others made. */
export function listNetns(): string[] {
  try {
    return readdirSync(NETNS_DIRECTORY);
  } catch {
    return [];
  }
}

/** Path of a named namespace. Throws INVALID_NETNS_NAME for names that would lead outside the directory. */
export function netnsPath(name: string): string {
  if (!/^[A-Za-z0-9_.-]{1,200}$/.test(name) || name.startsWith('.')) {
    throw new FlatnetError(`"${name}" is not a name for a network namespace`, {
      code: 'INVALID_NETNS_NAME',
      hint: 'use letters, digits, dots, dashes and underscores',
    });
  }
  return `${NETNS_DIRECTORY}/${name}`;
}

/** Runs `action` in a new namespace and comes back; the thread is never seen outside in between. */
function inNewNetns<T>(action: () => T): T {
  const home = openSync(SELF, 'r');
  try {
    libc.unshare(libc.CLONE_NEWNET);
    try {
      return action();
    } finally {
      comeBack(home);
    }
  } finally {
    closeSync(home);
  }
}

function prepareDirectory(): void {
  mkdirSync(NETNS_DIRECTORY, { recursive: true, mode: 0o755 });
  // Shared, so that mount namespaces made later see namespaces that are added and removed (as ip-netns(8) does).
  try {
    libc.mount('', NETNS_DIRECTORY, 'none', libc.MS_SHARED | libc.MS_REC);
  } catch (error) {
    if (!(error instanceof FlatnetError) || error.code !== 'EINVAL') throw error;
    libc.mount(NETNS_DIRECTORY, NETNS_DIRECTORY, 'none', libc.MS_BIND | libc.MS_REC);
    libc.mount('', NETNS_DIRECTORY, 'none', libc.MS_SHARED | libc.MS_REC);
  }
}

function comeBack(home: number): void {
  try {
    libc.setns(home, libc.CLONE_NEWNET);
  } catch (error) {
    // Going on in the wrong namespace would program the wrong network: nothing can be right after this.
    process.stderr.write(`cannot return to the own network namespace: ${String(error)}\n`);
    process.abort();
  }
}

function isThenable(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}

function refuseAsync(): FlatnetError {
  return new FlatnetError('only synchronous functions can run inside another network namespace', {
    code: 'NETNS_ASYNC',
  });
}
