import { createRequire } from 'node:module';
import type { LibraryHandle } from 'koffi';
import { ERRNO, errnoError } from './errno.ts';

// Numbers from <bits/socket.h>, <asm-generic/socket.h>, <sched.h>, <sys/mount.h>: the same on x86-64 and arm64.
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_REUSEPORT = 15;
export const SO_RCVTIMEO = 20;
export const SO_SNDTIMEO = 21;
export const SO_RCVBUF = 8;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const IPPROTO_IP = 0;
export const IP_FREEBIND = 15;
export const IPPROTO_IPV6 = 41;
export const IPV6_V6ONLY = 26;
export const MSG_DONTWAIT = 0x40;
export const MSG_TRUNC = 0x20;
/** EPIPE instead of SIGPIPE. */
export const MSG_NOSIGNAL = 0x4000;
export const CLONE_NEWNET = 0x40000000;
export const MS_BIND = 4096;
export const MS_REC = 16384;
export const MS_SHARED = 1 << 20;
export const MNT_DETACH = 2;

type Argument = number | string | Uint8Array | null;
type Native = (...args: Argument[]) => number;

interface Bound {
  readonly errno: () => number;
  readonly address: (memory: Uint8Array) => bigint;
  readonly functions: Map<string, Native>;
  readonly library: LibraryHandle;
}

const SIGNATURES = {
  socket: 'int socket(int domain, int type, int protocol)',
  bind: 'int bind(int fd, const void *address, uint32_t length)',
  listen: 'int listen(int fd, int backlog)',
  connect: 'int connect(int fd, const void *address, uint32_t length)',
  send: 'long send(int fd, const void *data, size_t length, int flags)',
  recv: 'long recv(int fd, void *data, size_t length, int flags)',
  setsockopt: 'int setsockopt(int fd, int level, int option, const void *value, uint32_t length)',
  getsockopt: 'int getsockopt(int fd, int level, int option, void *value, void *length)',
  getsockname: 'int getsockname(int fd, void *address, void *length)',
  socketpair: 'int socketpair(int domain, int type, int protocol, void *pair)',
  pipe2: 'int pipe2(void *pair, int flags)',
  close: 'int close(int fd)',
  dup2: 'int dup2(int from, int to)',
  setns: 'int setns(int fd, int type)',
  unshare: 'int unshare(int flags)',
  mount: 'int mount(const char *source, const char *target, const char *type, ulong flags, const void *data)',
  umount2: 'int umount2(const char *target, int flags)',
  ioctl: 'int ioctl(int fd, ulong request, void *argument)',
  malloc_trim: 'int malloc_trim(size_t pad)',
  flock: 'int flock(int fd, int operation)',
  inotify_init1: 'int inotify_init1(int flags)',
  inotify_add_watch: 'int inotify_add_watch(int fd, const char *path, uint32_t mask)',
} as const;

type Call = keyof typeof SIGNATURES;

let bound: Bound | undefined;

function load(): Bound {
  // Loaded on first use: commands that never touch the kernel do not pay for it.
  if (bound === undefined) {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    bound = {
      library: koffi.load(null),
      errno: () => koffi.errno(),
      address: (memory) => koffi.address(memory),
      functions: new Map(),
    };
  }
  return bound;
}

function native(call: Call): Native {
  const { library, functions } = load();
  let found = functions.get(call);
  if (found === undefined) {
    found = library.func(SIGNATURES[call]) as Native;
    functions.set(call, found);
  }
  return found;
}

/** Calls libc; -1 becomes a FlatnetError whose code is the errno's name. Interrupted calls are made again. */
function call(name: Call, doing: string, ...args: Argument[]): number {
  for (;;) {
    const result = native(name)(...args);
    if (result >= 0) return result;
    const errno = load().errno();
    if (errno !== ERRNO.EINTR) throw errnoError(doing, errno);
  }
}

/** A new socket, close-on-exec, in the network namespace of the calling thread. */
export function socket(
  domain: number,
  type: number,
  protocol: number,
  doing = `socket(${domain}, ${type}, ${protocol})`,
): number {
  return call('socket', doing, domain, type | SOCK_CLOEXEC, protocol);
}

/** `address` is a complete sockaddr of the socket's family. */
export function bind(fd: number, address: Uint8Array, doing = 'bind'): void {
  call('bind', doing, fd, address, address.length);
}

export function listen(fd: number, backlog: number, doing = 'listen'): void {
  call('listen', doing, fd, backlog);
}

/** `address` is a complete sockaddr of the socket's family. */
export function connect(fd: number, address: Uint8Array, doing = 'connect'): void {
  call('connect', doing, fd, address, address.length);
}

export function send(fd: number, data: Uint8Array, flags = 0, doing = 'send'): number {
  return call('send', doing, fd, data, data.length, flags);
}

/**
 * As `send`, on a thread of libuv's pool. The errno stays with that thread, so a failure has no name. `data` must
 * not change meanwhile.
 */
export async function sendElsewhere(fd: number, data: Uint8Array, doing: string): Promise<void> {
  const sender = native('send') as Native & { async: (...args: unknown[]) => void };
  const sent = await new Promise<number>((resolve, reject) => {
    sender.async(fd, data, data.length, 0, (error: Error | null, result: number) => {
      if (error === null) resolve(result);
      else reject(error);
    });
  });
  if (sent < 0) throw errnoError(doing, ERRNO.EIO);
}

/**
 * Receives into `into`; returns the number of bytes, or undefined when nothing is there (EAGAIN). With MSG_TRUNC
 * in `flags` the number is the datagram's whole length, which may exceed `into`.
 */
export function recv(fd: number, into: Uint8Array, flags = 0, doing = 'recv'): number | undefined {
  for (;;) {
    const result = native('recv')(fd, into, into.length, flags);
    if (result >= 0) return result;
    const errno = load().errno();
    if (errno === ERRNO.EAGAIN) return undefined;
    if (errno !== ERRNO.EINTR) throw errnoError(doing, errno);
  }
}

/** Sets an option to a 32-bit number or to the given bytes. */
export function setsockopt(
  fd: number,
  level: number,
  option: number,
  value: number | Uint8Array,
  doing = `setsockopt(${level}, ${option})`,
): void {
  const bytes = typeof value === 'number' ? Buffer.from(Int32Array.of(value).buffer) : value;
  call('setsockopt', doing, fd, level, option, bytes, bytes.length);
}

/** The bytes of an option, at most `size`. Some are asked with a question in the same place. */
export function getsockopt(
  fd: number,
  level: number,
  option: number,
  size: number,
  question: Uint8Array = new Uint8Array(),
): Buffer {
  const value = Buffer.alloc(size);
  value.set(question);
  const length = Buffer.from(Int32Array.of(size).buffer);
  call('getsockopt', `getsockopt(${level}, ${option})`, fd, level, option, value, length);
  return value.subarray(0, length.readInt32LE());
}

/**
 * As `setsockopt` and `getsockopt` with bytes of any size, which must not be touched meanwhile, on a thread of libuv's
 * pool: for options that take the kernel long. Returns how many bytes the kernel took or gave.
 */
export async function sockoptElsewhere(
  direction: 'get' | 'set',
  fd: number,
  level: number,
  option: number,
  value: Uint8Array,
): Promise<number> {
  const name = `${direction}sockopt` as const;
  const length = Buffer.from(Int32Array.of(value.length).buffer);
  const args = [fd, level, option, value, direction === 'get' ? length : value.length] as const;
  const caller = native(name) as Native & { async: (...args: unknown[]) => void };
  const result = await new Promise<number>((resolve, reject) => {
    caller.async(...args, (error: Error | null, result: number) => {
      if (error === null) resolve(result);
      else reject(error);
    });
  });
  // The errno stayed with that thread: asked again here, where the kernel refuses at once.
  if (result < 0) call(name, `${name}(${level}, ${option})`, ...args);
  return length.readInt32LE();
}

/** The address that the socket is bound to, as a raw sockaddr. */
export function getsockname(fd: number): Buffer {
  const address = Buffer.alloc(128);
  const length = Buffer.from(Int32Array.of(address.length).buffer);
  call('getsockname', 'getsockname', fd, address, length);
  return address.subarray(0, length.readInt32LE());
}

export function socketpair(domain: number, type: number): [number, number] {
  const pair = Buffer.alloc(8);
  call('socketpair', 'socketpair', domain, type | SOCK_CLOEXEC, 0, pair);
  return [pair.readInt32LE(0), pair.readInt32LE(4)];
}

/** A pipe, close-on-exec: the end to read from, the end to write to. */
export function pipe(): [read: number, write: number] {
  const pair = Buffer.alloc(8);
  call('pipe2', 'pipe', pair, O_CLOEXEC);
  return [pair.readInt32LE(0), pair.readInt32LE(4)];
}

export function close(fd: number): void {
  // Linux frees the descriptor even when close reports EINTR: never call it twice.
  native('close')(fd);
}

export function dup2(from: number, to: number): void {
  call('dup2', 'dup2', from, to);
}

/** Moves the calling thread into a namespace. Use `withNetns`, which also comes back. */
export function setns(fd: number, type: number): void {
  call('setns', 'enter namespace', fd, type);
}

export function unshare(flags: number): void {
  call('unshare', 'create namespace', flags);
}

export function mount(source: string, target: string, type: string, flags: number): void {
  call('mount', `mount ${source} on ${target}`, source, target, type, flags, null);
}

export function umount(target: string, flags: number): void {
  call('umount2', `unmount ${target}`, target, flags);
}

/** `argument` is the structure that the request reads and writes in place. */
export function ioctl(fd: number, request: number, argument: Uint8Array, doing = 'ioctl'): number {
  return call('ioctl', doing, fd, request, argument);
}

/** Takes the lock of an open file for itself (flock(2)); false when another has it. */
export function tryLock(fd: number): boolean {
  const LOCK_EX_NB = 2 | 4;
  if (native('flock')(fd, LOCK_EX_NB) >= 0) return true;
  const errno = load().errno();
  if (errno === ERRNO.EWOULDBLOCK || errno === ERRNO.EINTR) return false;
  throw errnoError('lock a file', errno);
}

export function unlock(fd: number): void {
  const LOCK_UN = 8;
  call('flock', 'unlock a file', fd, LOCK_UN);
}

/** A descriptor that tells what happens to the file (inotify(7)): non-blocking, close-on-exec. */
export function watchFile(path: string, mask: number): number {
  const fd = call('inotify_init1', 'open inotify', SOCK_NONBLOCK | O_CLOEXEC);
  try {
    call('inotify_add_watch', `watch ${path}`, fd, path, mask);
  } catch (error) {
    close(fd);
    throw error;
  }
  return fd;
}

/** Returns what malloc holds free to the kernel. Does nothing where malloc is not glibc's, as with musl. */
export function trimHeap(): void {
  let trim: Native;
  try {
    trim = native('malloc_trim');
  } catch {
    return;
  }
  trim(0);
}

/** Where the bytes lie in memory, for structures that point to others. Keep `memory` referenced until the call ends. */
export function addressOf(memory: Uint8Array): bigint {
  return load().address(memory);
}
