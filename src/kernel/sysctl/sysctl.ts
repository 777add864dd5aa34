import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { withNetns } from '../netns/netns.ts';

/**
 * The file of a setting. Both notations of sysctl(8) are understood: in `net.ipv4.ip_forward` a slash stands for a
 * dot within a name, in `net/ipv4/conf/eth0.100/forwarding` dots are literal. Throws INVALID_SYSCTL.
 */
export function sysctlPath(key: string): string {
  const separator = /[./]/.exec(key)?.[0];
  const parts = separator === '/' ? key.split('/') : key.split('.').map((part) => part.replaceAll('/', '.'));
  if (
    parts.length < 2 ||
    parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0'))
  ) {
    throw new FlatnetError(`"${key}" is not the name of a kernel setting`, {
      code: 'INVALID_SYSCTL',
      hint: 'write it like net.ipv4.ip_forward, or net/ipv4/conf/eth0.100/forwarding',
    });
  }
  return `/proc/sys/${parts.join('/')}`;
}

/** The value without the trailing newline; `netns` is a descriptor of another network namespace. */
export function readSysctl(key: string, netns?: number): string {
  return attempt(`read sysctl ${key}`, () => {
    // /proc/sys/net shows the namespace of the thread that opens the file, not of the one that reads it.
    const fd = inside(netns, () => openSync(sysctlPath(key), 'r'));
    try {
      return readFileSync(fd, 'utf8').trimEnd();
    } finally {
      closeSync(fd);
    }
  });
}

/** Writes the value; throws with the errno's name (ENOENT: this kernel or device has no such setting). */
export function writeSysctl(key: string, value: string | number, netns?: number): void {
  attempt(`write sysctl ${key} = ${value}`, () => {
    const fd = inside(netns, () => openSync(sysctlPath(key), 'w'));
    try {
      writeSync(fd, `${value}\n`);
    } finally {
      closeSync(fd);
    }
  });
}

function inside<T>(netns: number | undefined, action: () => T): T {
  return netns === undefined ? action() : withNetns(netns, action);
}

function attempt<T>(doing: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof FlatnetError) throw cause;
    const { code = 'EIO', message } = cause as NodeJS.ErrnoException;
    throw new FlatnetError(`${doing}: ${message}`, {
      code,
      cause,
      ...(code === 'EROFS' ? { hint: '/proc/sys is read-only here: the container must be privileged' } : {}),
    });
  }
}
