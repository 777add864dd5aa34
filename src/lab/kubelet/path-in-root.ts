import { lstatSync, readlinkSync } from 'node:fs';
import { join, posix } from 'node:path';

/** Symbolic links followed before giving up, as the kernel has it (path_resolution(7)). */
const MAX_LINKS = 40;

/**
 * Follows symbolic links as a process would whose root is `root`: an absolute link leads into that root, never out
 * of it. What does not exist yet is left as it is. Returns the path inside of the root.
 */
export function resolveInRoot(root: string, path: string): string {
  let rest = posix.normalize(`/${path}`).split('/').filter(Boolean);
  let resolved = '/';
  let links = 0;
  while (rest.length > 0) {
    const [part = '', ...following] = rest;
    const next = posix.join(resolved, part);
    const target = links < MAX_LINKS ? linkTarget(join(root, next)) : undefined;
    if (target === undefined) {
      resolved = next;
      rest = following;
      continue;
    }
    links += 1;
    rest = posix
      .resolve(resolved, target, ...following)
      .split('/')
      .filter(Boolean);
    resolved = '/';
  }
  return resolved;
}

function linkTarget(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}
