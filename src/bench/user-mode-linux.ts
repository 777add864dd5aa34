import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { FlatnetError } from '../errors/flatnet-error.ts';

/** Name of the variable by which a process knows that it runs inside (scripts/uml.sh). */
export const INSIDE_UML = process.env['FLATNET_UML'] === '1';

const TIMEOUT_SECONDS = 3600;

/**
 * Runs a benchmark in a Linux that has what this machine's kernel lacks, as a process on this machine; with `--json`
 * among its arguments every line is a result. `modules` are loaded before.
 */
export async function benchInUml(
  args: readonly string[],
  modules: string,
  onLine: (line: string) => void,
): Promise<void> {
  const script = process.argv[1] ?? '';
  const uml = join(dirname(script), '..', 'scripts', 'uml.sh');
  const settings = ['--memory', '4G', '--timeout', String(TIMEOUT_SECONDS), '--modules', modules];
  const command = [uml, ...settings, '--', process.execPath, script, ...args];
  // The kernel and its processes trace each other: on one processor that is twice as fast as on two.
  const processor = String(cpus().length - 1);
  const child = spawn('taskset', ['-c', processor, ...command], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit');
  for await (const line of createInterface({ input: child.stdout })) onLine(line);
  const [code] = (await ended) as [number | null];
  if (code === 0) return;
  throw new FlatnetError(`the benchmark in user-mode-linux ended with ${code}`, { code: 'BENCH_UML' });
}
