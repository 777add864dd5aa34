import { spawn, type ChildProcess } from 'node:child_process';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { CHANNEL, decodeExecMessage, encodeExecMessage, exitStatus, failureStatus } from './exec-channel.ts';
import { Terminal } from './terminal.ts';

export interface ExecRequest {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** Where the terminal is made, for a command that wants one. */
  readonly terminals?: string | undefined;
}

/** Bytes that may wait for a slow client before the command is made to wait. */
const HIGH_WATER_BYTES = 1024 * 1024;

/** Runs a command line and couples it with a WebSocket of the remote command protocol until it ends. */
export async function serveExec(
  socket: WebSocket,
  command: readonly string[],
  request: ExecRequest,
): Promise<void> {
  const [program = '', ...args] = command;
  try {
    const code =
      request.terminals === undefined
        ? await withPipes(socket, program, args, request)
        : await withTerminal(socket, program, args, request.terminals);
    socket.send(exitStatus(code));
  } catch (error) {
    socket.send(failureStatus(error instanceof Error ? error.message : String(error)));
  }
  socket.close(1000);
}

async function withPipes(
  socket: WebSocket,
  program: string,
  args: readonly string[],
  request: ExecRequest,
): Promise<number> {
  const child = spawn(program, args, {
    stdio: [
      request.stdin ? 'pipe' : 'ignore',
      request.stdout ? 'pipe' : 'ignore',
      request.stderr ? 'pipe' : 'ignore',
    ],
  });
  if (child.stdout !== null) forward(socket, child.stdout, CHANNEL.stdout);
  if (child.stderr !== null) forward(socket, child.stderr, CHANNEL.stderr);
  receive(socket, child, child.stdin, undefined);
  return await exitCode(child);
}

async function withTerminal(
  socket: WebSocket,
  program: string,
  args: readonly string[],
  terminals: string,
): Promise<number> {
  const terminal = new Terminal(terminals);
  const { slave } = terminal;
  const child = spawn(program, args, { stdio: [slave, slave, slave], detached: true });
  terminal.closeSlave();
  forward(socket, terminal.stream, CHANNEL.stdout);
  receive(socket, child, terminal.stream, terminal);
  // When the last process that had the slave open ends, reading the master fails with EIO (pty(7)).
  const drained = new Promise<void>((resolve) => {
    terminal.stream.once('error', () => resolve());
    terminal.stream.once('close', () => resolve());
    terminal.stream.once('end', () => resolve());
  });
  const code = await exitCode(child);
  await Promise.race([drained, new Promise((resolve) => setTimeout(resolve, 200).unref())]);
  terminal.stream.destroy();
  return code;
}

function forward(socket: WebSocket, stream: Readable, channel: number): void {
  stream.on('data', (data: Buffer) => {
    socket.send(encodeExecMessage(channel, data), () => {
      if (stream.isPaused() && socket.bufferedAmount < HIGH_WATER_BYTES) stream.resume();
    });
    if (socket.bufferedAmount > HIGH_WATER_BYTES) stream.pause();
  });
  stream.on('error', () => undefined);
}

function receive(
  socket: WebSocket,
  child: ChildProcess,
  stdin: Writable | null,
  terminal: Terminal | undefined,
): void {
  // A command may end without having read everything.
  stdin?.on('error', () => undefined);
  socket.on('message', (raw: RawData) => {
    const input = decodeExecMessage(bytesOf(raw));
    if (input.kind === 'stdin' && stdin !== null && !stdin.destroyed) {
      if (input.data.length > 0 && !stdin.write(input.data)) {
        socket.pause();
        stdin.once('drain', () => socket.resume());
      }
    }
    if (input.kind === 'close' && input.channel === CHANNEL.stdin && terminal === undefined) stdin?.end();
    if (input.kind === 'resize') terminal?.resize(input.columns, input.rows);
  });
  // Nobody reads any more: the command would only fill its pipes.
  socket.once('close', () => {
    socket.resume();
    child.kill('SIGKILL');
    stdin?.destroy();
  });
}

async function exitCode(child: ChildProcess): Promise<number> {
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    // `close` comes after the last of the output; for a terminal there is none to wait for.
    child.once(
      child.stdout === null && child.stderr === null ? 'exit' : 'close',
      (code: number | null, signal: NodeJS.Signals | null) => {
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      },
    );
  });
}

function bytesOf(raw: RawData): Buffer {
  if (Buffer.isBuffer(raw)) return raw;
  return Array.isArray(raw) ? Buffer.concat(raw) : Buffer.from(raw);
}
