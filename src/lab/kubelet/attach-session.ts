import type { Readable, Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import type { ContainerExit } from './container-process.ts';
import { CHANNEL, decodeExecMessage, encodeExecMessage, exitStatus } from './exec-channel.ts';
import type { Terminal } from './terminal.ts';

/** What a running container can be spoken to by. */
export interface ContainerStreams {
  /** Only of containers that ask for it (`stdin: true`). */
  readonly stdin: Writable | undefined;
  readonly stdout: Readable;
  /** A terminal has none of its own. */
  readonly stderr: Readable | undefined;
  readonly terminal: Terminal | undefined;
}

export interface AttachOptions {
  readonly stdin: boolean;
  /** Standard input ends with the first client that had it (`stdinOnce`). */
  readonly stdinOnce: boolean;
}

/**
 * Couples a WebSocket with the standard streams of a running container until it ends or the client goes. The log
 * reads the same streams, so a slow client must not hold them up: it is dropped instead.
 */
export function serveAttach(
  socket: WebSocket,
  streams: ContainerStreams,
  exited: Promise<ContainerExit>,
  options: AttachOptions,
): void {
  const { stdin, stdout, stderr, terminal } = streams;
  const detach = [forward(socket, stdout, CHANNEL.stdout)];
  if (stderr !== undefined) detach.push(forward(socket, stderr, CHANNEL.stderr));
  const input = options.stdin ? stdin : undefined;
  socket.on('message', (raw: RawData) => {
    const message = decodeExecMessage(Buffer.isBuffer(raw) ? raw : Buffer.concat([raw].flat() as Buffer[]));
    if (message.kind === 'stdin' && input !== undefined && !input.destroyed) input.write(message.data);
    if (message.kind === 'resize') terminal?.resize(message.columns, message.rows);
    if (message.kind === 'close' && message.channel === CHANNEL.stdin) endInput(input, terminal, options);
  });
  socket.once('close', () => {
    for (const undo of detach) undo();
    endInput(input, terminal, options);
  });
  void exited.then(() => {
    // The exit code is in the pod's status; attaching as such went well.
    socket.send(exitStatus(0), () => socket.close(1000));
  });
}

const MAX_WAITING_BYTES = 16 * 1024 * 1024;

function forward(socket: WebSocket, stream: Readable, channel: number): () => void {
  const onData = (data: Buffer): void => {
    if (socket.bufferedAmount > MAX_WAITING_BYTES) socket.terminate();
    else socket.send(encodeExecMessage(channel, data), () => undefined);
  };
  stream.on('data', onData);
  return () => stream.off('data', onData);
}

function endInput(input: Writable | undefined, terminal: Terminal | undefined, options: AttachOptions): void {
  if (terminal === undefined && options.stdinOnce) input?.end();
}
