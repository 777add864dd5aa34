import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { withNetns } from '../netns/netns.ts';

export interface RunOptions {
  /** Text for standard input; without it standard input is empty. */
  readonly input?: string | Uint8Array;
  /** The whole environment of the command; the own environment when absent. */
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Aborting ends the command with SIGKILL. */
  readonly signal?: AbortSignal;
  /** Ends the command with SIGKILL after this time; 30 s when absent, 0 for no limit. */
  readonly timeoutMs?: number;
  /** Descriptor of the network namespace in which the command runs. */
  readonly netns?: number;
}

export interface RunResult {
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
}

/** A command that could not be started, ended with an exit code other than 0, or was ended before its time. */
export class CommandError extends FlatnetError {
  readonly command: string;
  /** Undefined when the command was not started or was ended by a signal. */
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;

  constructor(what: string, code: string, failure: Omit<CommandFailure, 'code'>) {
    const said = failure.stderr.trim() || failure.stdout.trim();
    const took = `${Math.round(failure.durationMs)} ms`;
    super(`${failure.command}: ${what} after ${took}${said === '' ? '' : `: ${said}`}`, {
      code,
      ...(code === 'COMMAND_NOT_FOUND' ? { hint: 'install the package that provides it' } : {}),
      ...(failure.cause === undefined ? {} : { cause: failure.cause }),
    });
    this.name = 'CommandError';
    this.command = failure.command;
    this.exitCode = failure.exitCode;
    this.stdout = failure.stdout;
    this.stderr = failure.stderr;
    this.durationMs = failure.durationMs;
  }
}

interface CommandFailure {
  readonly command: string;
  readonly exitCode?: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
  readonly cause?: unknown;
}

const OUTPUT_LIMIT = 256 * 1024 * 1024;

/**
 * Runs a program, without a shell, to its end. Throws CommandError with code COMMAND_NOT_FOUND, COMMAND_FAILED,
 * COMMAND_TIMEOUT or COMMAND_ABORTED.
 */
export async function run(
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  const shown = [command, ...args].join(' ');
  const started = performance.now();
  if (isAborted(options.signal)) {
    throw new CommandError('not started, aborted', 'COMMAND_ABORTED', empty(shown, started));
  }
  const child = start(command, args, options);
  const kill = (): void => void child.kill('SIGKILL');
  let timedOut = false;
  const timeoutMs = options.timeoutMs ?? 30_000;
  const timer =
    timeoutMs === 0
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          kill();
        }, timeoutMs);
  options.signal?.addEventListener('abort', kill, { once: true });
  try {
    const ended = await collect(child, options.input);
    const durationMs = performance.now() - started;
    const { stdout, stderr, exitCode, signal } = ended;
    if (exitCode === 0) return { stdout, stderr, durationMs };
    const failure = { command: shown, exitCode: exitCode ?? undefined, stdout, stderr, durationMs };
    if (timedOut) throw new CommandError('ended, it took too long', 'COMMAND_TIMEOUT', failure);
    if (isAborted(options.signal)) throw new CommandError('aborted', 'COMMAND_ABORTED', failure);
    const how = exitCode === null ? `ended by ${signal}` : `exit code ${exitCode}`;
    throw new CommandError(how, 'COMMAND_FAILED', failure);
  } catch (cause) {
    if (cause instanceof CommandError) throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const code = missing ? 'COMMAND_NOT_FOUND' : 'COMMAND_FAILED';
    throw new CommandError(`not started: ${(cause as Error).message}`, code, {
      ...empty(shown, started),
      cause,
    });
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', kill);
  }
}

/**
 * As `run`, but nothing else happens meanwhile: only for what takes milliseconds and where the caller cannot wait
 * otherwise (a daemon that goes to the background at once).
 */
export function runSync(
  command: string,
  args: readonly string[],
  options: Omit<RunOptions, 'signal'> = {},
): RunResult {
  const shown = [command, ...args].join(' ');
  const started = performance.now();
  const begin = () =>
    spawnSync(command, args, {
      encoding: 'utf8',
      env: options.env ?? process.env,
      timeout: options.timeoutMs ?? 30_000,
      killSignal: 'SIGKILL',
      maxBuffer: OUTPUT_LIMIT,
      ...(options.input === undefined ? { stdio: ['ignore', 'pipe', 'pipe'] } : { input: options.input }),
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
  const ended = options.netns === undefined ? begin() : withNetns(options.netns, begin);
  const failure = {
    command: shown,
    exitCode: ended.status ?? undefined,
    stdout: ended.stdout ?? '',
    stderr: ended.stderr ?? '',
    durationMs: performance.now() - started,
  };
  if (ended.status === 0) return failure;
  const reason = ended.error !== undefined && 'code' in ended.error ? ended.error.code : undefined;
  if (reason === 'ETIMEDOUT') throw new CommandError('ended, it took too long', 'COMMAND_TIMEOUT', failure);
  if (ended.error !== undefined) {
    const code = reason === 'ENOENT' ? 'COMMAND_NOT_FOUND' : 'COMMAND_FAILED';
    throw new CommandError(`not started: ${ended.error.message}`, code, { ...failure, cause: ended.error });
  }
  const how = ended.status === null ? `ended by ${ended.signal}` : `exit code ${ended.status}`;
  throw new CommandError(how, 'COMMAND_FAILED', failure);
}

function start(command: string, args: readonly string[], options: RunOptions): ChildProcess {
  const begin = (): ChildProcess =>
    spawn(command, args, {
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: options.env ?? process.env,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
  // The child is forked within this call and so begins in the namespace of the calling thread.
  return options.netns === undefined ? begin() : withNetns(options.netns, begin);
}

interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

async function collect(child: ChildProcess, input: string | Uint8Array | undefined): Promise<Ended> {
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  let size = 0;
  const keep = (into: Buffer[]) => (chunk: Buffer) => {
    size += chunk.length;
    if (size > OUTPUT_LIMIT) child.kill('SIGKILL');
    else into.push(chunk);
  };
  child.stdout?.on('data', keep(stdout));
  child.stderr?.on('data', keep(stderr));
  // A command may end without reading all its input; how it ended tells more than the broken pipe.
  child.stdin?.on('error', () => {});
  if (input !== undefined) child.stdin?.end(input);
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (exitCode, signal) => {
      resolve({ stdout: textOf(stdout), stderr: textOf(stderr), exitCode, signal });
    });
  });
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

function textOf(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString('utf8');
}

function empty(command: string, started: number): CommandFailure {
  return { command, stdout: '', stderr: '', durationMs: performance.now() - started };
}
