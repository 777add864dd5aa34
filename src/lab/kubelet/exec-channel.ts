/** Channels of the remote command protocol over WebSocket (v4.channel.k8s.io, v5.channel.k8s.io). */
export const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const;

export const EXEC_PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'] as const;

export type ExecInput =
  | { readonly kind: 'stdin'; readonly data: Uint8Array }
  | { readonly kind: 'resize'; readonly columns: number; readonly rows: number }
  | { readonly kind: 'close'; readonly channel: number }
  | { readonly kind: 'unknown' };

/** What the client says in one message: the first byte is the channel, the rest belongs to it. */
export function decodeExecMessage(message: Uint8Array): ExecInput {
  const data = message.subarray(1);
  switch (message[0]) {
    case CHANNEL.stdin:
      return { kind: 'stdin', data };
    case CHANNEL.resize:
      return decodeResize(data);
    case CHANNEL.close:
      return data[0] === undefined ? { kind: 'unknown' } : { kind: 'close', channel: data[0] };
    default:
      return { kind: 'unknown' };
  }
}

export function encodeExecMessage(channel: number, data: Uint8Array): Buffer {
  return Buffer.concat([Uint8Array.of(channel), data]);
}

/** The Status on the error channel from which kubectl takes its own exit code. */
export function exitStatus(code: number): Buffer {
  const status =
    code === 0
      ? { metadata: {}, status: 'Success' }
      : {
          metadata: {},
          status: 'Failure',
          reason: 'NonZeroExitCode',
          message: `command terminated with non-zero exit code: exit status ${code}`,
          details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
        };
  return encodeExecMessage(CHANNEL.error, Buffer.from(JSON.stringify(status)));
}

/** The Status where the command could not be run at all. */
export function failureStatus(message: string): Buffer {
  const status = { metadata: {}, status: 'Failure', reason: 'InternalError', message, code: 500 };
  return encodeExecMessage(CHANNEL.error, Buffer.from(JSON.stringify(status)));
}

function decodeResize(data: Uint8Array): ExecInput {
  try {
    const size = JSON.parse(Buffer.from(data).toString()) as { Width?: unknown; Height?: unknown };
    if (typeof size.Width === 'number' && typeof size.Height === 'number') {
      return { kind: 'resize', columns: size.Width, rows: size.Height };
    }
  } catch {
    // A message that cannot be read changes no window.
  }
  return { kind: 'unknown' };
}
