import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../src/kernel/exec/run.ts';

const SCRIPT = join(import.meta.dirname, '..', '..', 'scripts', 'uml.sh');

/** Whether this process runs inside. */
export const INSIDE_UML = process.env['FLATNET_UML'] === '1';

/** Why nothing can run in user-mode-linux on this machine; undefined: it can. */
export function umlMissing(): string | undefined {
  const missing = ['/usr/bin/linux.uml', '/usr/lib/uml/modules'].find((path) => !existsSync(path));
  return missing === undefined ? undefined : `${missing} is missing: install the package user-mode-linux`;
}

export interface UmlOptions {
  /** The machine is ended then (exit code 124). Default 300 s. */
  readonly timeoutMs?: number;
  /** `512M`, `1G` (the default): taken only as it is used. */
  readonly memory?: string;
  /** Folders that the command may write to. */
  readonly share?: readonly string[];
  /** Loaded before: `['ip_vs', 'dummy']`. Whatever else the kernel needs it loads by itself. */
  readonly modules?: readonly string[];
  /** Variables of this process that the command gets, beside PATH, HOME, LANG, CI and NODE_OPTIONS. */
  readonly environment?: readonly string[];
  readonly signal?: AbortSignal;
}

/**
 * Runs a command as root in a Linux 6.1 of its own (scripts/uml.sh), which has IPVS, dummy, ipip and SCTP. It sees all
 * files of this machine and changes none but those in `share`. Throws CommandError as `run` does, with its exit code.
 */
export async function runInUml(
  command: string,
  args: readonly string[],
  options: UmlOptions = {},
): Promise<{ readonly stdout: string; readonly stderr: string; readonly durationMs: number }> {
  const { timeoutMs = 300_000, memory = '1G', share = [], modules = [], environment = [] } = options;
  const settings = [
    '--timeout',
    String(timeoutMs / 1000),
    '--memory',
    memory,
    '--modules',
    modules.join(' '),
    ...share.flatMap((folder) => ['--share', folder]),
    ...environment.flatMap((name) => ['--env', name]),
  ];
  return await run(SCRIPT, [...settings, '--', command, ...args], {
    // The script ends the machine; this is for the case that the script itself hangs.
    timeoutMs: timeoutMs + 10_000,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
}
