import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** Programs of the machine that the lab is built with, and the Debian package that provides each. */
const PACKAGES = {
  busybox: 'busybox-static',
  env: 'coreutils',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
  setsid: 'util-linux',
  unshare: 'util-linux',
} as const;

export type ToolName = keyof typeof PACKAGES;

const found = new Map<string, string>();

/** Absolute path of a program, so that no PATH of a container decides which is run. Throws TOOL_MISSING. */
export function tool(name: ToolName): string {
  const known = found.get(name);
  if (known !== undefined) return known;
  const path = findProgram(name);
  if (path === undefined) {
    throw new FlatnetError(`${name} is missing`, {
      code: 'TOOL_MISSING',
      hint: `install it: apt-get install ${PACKAGES[name]}`,
    });
  }
  found.set(name, path);
  return path;
}

/** Where a program stands: PATH, then where Debian keeps programs for root. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
