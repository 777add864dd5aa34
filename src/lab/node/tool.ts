import { FlatnetError } from '../../errors/flatnet-error.ts';
import { findProgram } from '../../kernel/exec/find-program.ts';

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
