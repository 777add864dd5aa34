import { CNI_CODE, CniError } from './cni-error.ts';

/** What the plugin executable was given by the runtime. */
export interface PluginCall {
  /** CNI_COMMAND, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME, CNI_ARGS, CNI_PATH as far as set. */
  readonly environment: ReadonlyMap<string, string>;
  readonly stdin: Buffer;
}

const MAGIC = Buffer.from('FCN1', 'latin1');
/** A configuration with its prevResult is some KB; a megabyte is a mistake or an attack. */
const MAX_PART = 1 << 20;

/**
 * Takes a request of plugin/flatnet-cni.c apart; undefined while it is not complete. Throws CniError 6 for
 * something else than a request.
 */
export function decodeCall(data: Buffer): PluginCall | undefined {
  if (!MAGIC.subarray(0, data.length).equals(data.subarray(0, MAGIC.length)))
    throw notAFrame('wrong first bytes');
  const environment = part(data, MAGIC.length);
  const stdin = environment === undefined ? undefined : part(data, environment.end);
  if (environment === undefined || stdin === undefined) return undefined;
  if (stdin.end !== data.length) throw notAFrame('bytes behind its end');
  return { environment: variables(environment.bytes.toString('utf8')), stdin: stdin.bytes };
}

export function encodeCall(call: PluginCall): Buffer {
  const environment = [...call.environment].map(([name, value]) => `${name}=${value}\0`).join('');
  const bytes = Buffer.from(environment, 'utf8');
  return Buffer.concat([MAGIC, u32(bytes.length), bytes, u32(call.stdin.length), call.stdin]);
}

/** Sent as soon as the whole request is there, before it is worked on: the plugin then knows that nobody hangs. */
export const RECEIPT: Uint8Array = MAGIC;

export function encodeReply(exitCode: number, stdout: string): Buffer {
  const bytes = Buffer.from(stdout, 'utf8');
  return Buffer.concat([u32(exitCode), u32(bytes.length), bytes]);
}

function part(data: Buffer, at: number): { bytes: Buffer; end: number } | undefined {
  if (data.length < at + 4) return undefined;
  const length = data.readUInt32BE(at);
  if (length > MAX_PART) throw notAFrame(`a part of ${length} bytes`);
  const end = at + 4 + length;
  return data.length < end ? undefined : { bytes: data.subarray(at + 4, end), end };
}

function variables(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of text.split('\0')) {
    const equals = entry.indexOf('=');
    if (equals > 0) found.set(entry.slice(0, equals), entry.slice(equals + 1));
  }
  return found;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

const notAFrame = (why: string): CniError =>
  new CniError(CNI_CODE.decodingFailure, `not a request of the plugin flatnet-cni: ${why}`);
