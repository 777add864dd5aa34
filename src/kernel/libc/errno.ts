import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { FlatnetError } from '../../errors/flatnet-error.ts';

const NAMES = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]));

/** These pass by themselves: the same call may succeed later. */
const RETRYABLE = new Set(['EAGAIN', 'EINTR', 'EBUSY', 'ENOBUFS', 'ENOMEM', 'ETIMEDOUT']);

/** Numbers of errno(3) by name, as of this platform. */
export const ERRNO: Readonly<Record<keyof typeof constants.errno, number>> = constants.errno;

/** `17` -> `EEXIST`; numbers without a name become `ERRNO_524`. */
function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `ERRNO_${errno}`;
}

/** The words for an errno; the number itself where there are none. */
function errnoText(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[1] ?? `error ${errno}`;
}

/**
 * The error of a call that the kernel refused. `doing` says what was being done and with which object
 * (`add route 10.244.1.0/24`); `words` are the kernel's own, where it gave any.
 */
export function errnoError(doing: string, errno: number, words?: string, hint?: string): FlatnetError {
  const code = errnoName(errno);
  const said = words === undefined ? errnoText(errno) : `${words} (${errnoText(errno)})`;
  return new FlatnetError(`${doing}: ${code}: ${said}`, {
    code,
    retryable: RETRYABLE.has(code),
    ...(hint === undefined ? hintFor(code) : { hint }),
  });
}

function hintFor(code: string): { hint?: string } {
  return code === 'EPERM' ? { hint: 'this needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN)' } : {};
}
