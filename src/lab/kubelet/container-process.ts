import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { Socket } from 'node:net';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { close, pipe } from '../../kernel/libc/libc.ts';
import type { LabNode } from '../node/lab-node.ts';
import { scriptPath } from '../node/scripts.ts';
import { tool } from '../node/tool.ts';
import {
  childrenOf,
  identifyProcess,
  signalProcess,
  type ProcessIdentity,
} from '../state/process-identity.ts';
import type { ContainerStreams } from './attach-session.ts';
import type { ContainerLog } from './container-log.ts';
import type { LogStream } from './log-format.ts';
import type { Sandbox } from './sandbox.ts';
import { Terminal } from './terminal.ts';

export interface BindMount {
  /** Inside of the node, without symbolic links. */
  readonly source: string;
  readonly destination: string;
  readonly readOnly: boolean;
}

/** Everything that starts one run of a container. */
export interface ContainerRun {
  readonly id: string;
  /** Lower layers, as overlayfs takes them. */
  readonly lower: string;
  readonly readOnlyRoot: boolean;
  readonly privileged: boolean;
  readonly workingDir: string;
  readonly mounts: readonly BindMount[];
  /** The complete environment. */
  readonly env: ReadonlyMap<string, string>;
  /** setpriv and its arguments. */
  readonly privileges: readonly string[];
  readonly command: readonly string[];
  readonly log: ContainerLog;
  /** Keeps standard input open (`stdin: true`). */
  readonly stdin: boolean;
  /** Gives it a terminal in place of pipes (`tty: true`). */
  readonly tty: boolean;
}

export interface ContainerExit {
  readonly exitCode: number;
  readonly signal?: number | undefined;
  readonly finishedAt: Date;
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGILL: 4,
  SIGABRT: 6,
  SIGFPE: 8,
  SIGKILL: 9,
  SIGSEGV: 11,
  SIGPIPE: 13,
  SIGALRM: 14,
  SIGTERM: 15,
};

/** One run of a container: its PID 1 in own PID and mount namespaces, within the pod's and the node's. */
export class ContainerProcess {
  readonly startedAt = new Date();
  readonly exited: Promise<ContainerExit>;
  readonly #init: ProcessIdentity | undefined;
  /** For those who attach. */
  readonly streams: ContainerStreams;
  readonly #run: ContainerRun;
  #killed = false;

  private constructor(
    run: ContainerRun,
    init: ProcessIdentity | undefined,
    streams: ContainerStreams,
    exited: Promise<ContainerExit>,
  ) {
    this.#run = run;
    this.#init = init;
    this.streams = streams;
    // unshare(1) does not pass SIGKILL of its child on, it exits with 1.
    this.exited = exited.then((exit) => (this.#killed ? { ...exit, exitCode: 137 } : exit));
  }

  /** Throws CONTAINER_NOT_STARTED with the words of the step that failed. */
  static async start(node: LabNode, sandbox: Sandbox, run: ContainerRun): Promise<ContainerProcess> {
    const folder = containerFolder(run.id);
    for (const part of ['upper', 'work', 'root']) {
      mkdirSync(node.path(`${folder}/${part}`), { recursive: true });
    }
    const command = [...sandbox.enterArguments, '--', ...unshared(folder, run)];
    const { child, streams } = run.tty ? spawnOnTerminal(command, run) : spawnOnPipes(command, run);
    const exited = exitOf(child);
    await started(child, run);
    const holder = childrenOf(child.pid ?? 0)[0];
    const init = holder === undefined ? undefined : identifyProcess(childrenOf(holder)[0] ?? 0);
    return new ContainerProcess(run, init, streams, exited);
  }

  /** To PID 1 of the container; as everywhere, it heeds only signals that it has a handler for, and SIGKILL. */
  kill(signal: NodeJS.Signals): void {
    if (this.#init === undefined) return;
    if (signal === 'SIGKILL') {
      this.#killed = true;
      this.#run.log.mute();
    }
    signalProcess(this.#init, signal);
  }

  /** The container's own /dev/pts, as the host reaches it. */
  get terminals(): string {
    return `/proc/${this.#init?.pid ?? 0}/root/dev/pts`;
  }

  /** Command line that runs `command` in the container, for `spawn`; a terminal becomes its controlling one. */
  enter(command: readonly string[], options: { readonly tty?: boolean } = {}): string[] {
    if (this.#init === undefined || identifyProcess(this.#init.pid) === undefined) {
      throw new FlatnetError('the container is not running', { code: 'CONTAINER_NOT_RUNNING' });
    }
    const namespaces = `/proc/${this.#init.pid}/ns`;
    const terminal = options.tty === true ? [tool('setsid'), '--ctty', '--wait'] : [];
    return [
      tool('nsenter'),
      ...['net', 'uts', 'ipc', 'pid'].map((kind) => `--${kind}=${namespaces}/${kind}`),
      `--mount=${namespaces}/mnt`,
      '--',
      ...terminal,
      tool('busybox'),
      'sh',
      '-c',
      'cd "$1" && shift && exec "$@"',
      'exec',
      this.#run.workingDir,
      ...withEnvironment(this.#run, options.tty === true ? new Map([['TERM', 'xterm']]) : new Map(), command),
    ];
  }
}

interface Spawned {
  readonly child: ChildProcess;
  readonly streams: ContainerStreams;
}

/**
 * Pipes of our own: those that Node.js makes for children are sockets, and a socket cannot be opened again as
 * /dev/stdout, as many images do with their log files. Nor may the input be one: sendfile(2) from a socket to a pipe,
 * as busybox's cat copies, keeps the pipe locked while it waits for input, and whoever reads the pipe, uninterruptibly.
 */
function spawnOnPipes(command: readonly string[], run: ContainerRun): Spawned {
  const [stdout, stdoutEnd] = outputPipe(run.log, 'stdout');
  const [stderr, stderrEnd] = outputPipe(run.log, 'stderr');
  const [stdin, stdinEnd] = run.stdin ? inputPipe() : [];
  const child = spawn(tool('nsenter'), command, {
    stdio: [stdinEnd ?? 'ignore', stdoutEnd, stderrEnd, 'pipe'],
    env: { PATH: process.env['PATH'] },
  });
  for (const end of [stdinEnd, stdoutEnd, stderrEnd]) if (end !== undefined) close(end);
  child.once('exit', () => stdin?.destroy());
  return { child, streams: { stdin, stdout, stderr, terminal: undefined } };
}

function inputPipe(): [Socket, number] {
  const [from, to] = pipe();
  const stream = new Socket({ fd: to, readable: false, writable: true });
  // A program may end without having read everything.
  stream.on('error', () => undefined);
  return [stream, from];
}

function spawnOnTerminal(command: readonly string[], run: ContainerRun): Spawned {
  const terminal = new Terminal('/dev/pts');
  const { slave, stream } = terminal;
  const child = spawn(tool('nsenter'), command, {
    stdio: [slave, slave, slave, 'pipe'],
    env: { PATH: process.env['PATH'] },
    detached: true,
  });
  terminal.closeSlave();
  run.log.capture(stream, 'stdout');
  return { child, streams: { stdin: stream, stdout: stream, stderr: undefined, terminal } };
}

function outputPipe(log: ContainerLog, name: LogStream): [Socket, number] {
  const [from, to] = pipe();
  const stream = new Socket({ fd: from, readable: true, writable: false });
  log.capture(stream, name);
  return [stream, to];
}

/** Inside of the node. */
export function containerFolder(id: string): string {
  return `/run/lab/containers/${id}`;
}

function unshared(folder: string, run: ContainerRun): string[] {
  return [
    tool('unshare'),
    '--pid',
    '--mount',
    '--fork',
    '--kill-child',
    '--propagation',
    'private',
    '--',
    tool('busybox'),
    'sh',
    scriptPath('container'),
    folder,
    run.lower,
    run.readOnlyRoot ? '1' : '0',
    run.privileged ? '1' : '0',
    run.workingDir,
    run.command[0] ?? '',
    run.env.get('PATH') ?? '',
    ...run.mounts.flatMap(({ source, destination, readOnly }) => [
      source,
      destination,
      readOnly ? 'ro' : 'rw',
    ]),
    '--',
    ...(run.tty ? [tool('setsid'), '--ctty'] : []),
    ...withEnvironment(run, run.tty ? new Map([['TERM', 'xterm']]) : new Map(), run.command),
  ];
}

function withEnvironment(
  run: ContainerRun,
  more: ReadonlyMap<string, string>,
  command: readonly string[],
): string[] {
  const variables = [...new Map([...more, ...run.env])].map(([name, value]) => `${name}=${value}`);
  return [...run.privileges, tool('env'), '-i', ...variables, ...command];
}

/** Waits for the word `started` on descriptor 3; anything else that is said there is why it failed. */
async function started(child: ChildProcess, run: ContainerRun): Promise<void> {
  const report = child.stdio[3] as Readable;
  let said = '';
  await new Promise<void>((resolve) => {
    report.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.endsWith('started\n')) resolve();
    });
    report.once('close', resolve);
    child.once('error', (error) => {
      said += error.message;
      resolve();
    });
  });
  report.destroy();
  if (said.endsWith('started\n')) return;
  const why = said.trim() || 'its first process ended before its program began';
  throw new FlatnetError(`failed to start container: ${why}`, {
    code: 'CONTAINER_NOT_STARTED',
    cause: run.id,
  });
}

async function exitOf(child: ChildProcess): Promise<ContainerExit> {
  return await new Promise((resolve) => {
    child.once('error', () => resolve({ exitCode: 128, finishedAt: new Date() }));
    child.once('exit', (code, signal) => {
      const number = signal === null ? undefined : (SIGNAL_NUMBERS[signal] ?? 0);
      resolve({
        exitCode: code ?? 128 + (number ?? 0),
        ...(number === undefined ? {} : { signal: number }),
        finishedAt: new Date(),
      });
    });
  });
}
