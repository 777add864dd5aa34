import { open, type FileHandle } from 'node:fs/promises';
import type { NodeRecord } from '../state/lab-record.ts';

/** Of the agent's health server, where its configuration does not say otherwise. */
const HEALTH_PORT = 10_256;
const PATIENCE_MS = 500;
/** So much of a log's end is looked at, bytes. */
const TAIL = 16_384;

/** What keeps a node from being Ready, in its agent's words; undefined where the agent says nothing. */
export async function whyNotReady(
  { name, addresses }: Pick<NodeRecord, 'name' | 'addresses'>,
  agentLog: string,
  port = HEALTH_PORT,
): Promise<string | undefined> {
  const why = (await askAgent(addresses[0] ?? '', port)) ?? (await lastError(agentLog));
  return why === undefined ? undefined : `${name}: ${why}`;
}

async function askAgent(address: string, port: number): Promise<string | undefined> {
  const host = address.includes(':') ? `[${address}]` : address;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const response = await fetch(`http://${host}:${port}/status`, { signal });
    const status = (await response.json()) as { waitsFor?: unknown };
    return typeof status.waitsFor === 'string' ? status.waitsFor : undefined;
  } catch {
    // It does not run (yet): its log may tell.
    return undefined;
  }
}

/** An agent that ends at once has said why before. */
async function lastError(path: string): Promise<string | undefined> {
  let text = '';
  let log: FileHandle | undefined;
  try {
    log = await open(path);
    const { size } = await log.stat();
    const { buffer, bytesRead } = await log.read({
      buffer: Buffer.alloc(TAIL),
      position: Math.max(0, size - TAIL),
    });
    text = buffer.toString('utf8', 0, bytesRead);
  } catch {
    return undefined;
  } finally {
    await log?.close();
  }
  return text
    .trim()
    .split('\n')
    .toReversed()
    .map(errorOf)
    .find((each) => each !== undefined);
}

/** Of a line of the logger's, or of one that was written before there was a logger. */
function errorOf(line: string): string | undefined {
  if (!line.startsWith('{')) return line.startsWith('flatnet: ') ? line : undefined;
  try {
    const { level, error, msg } = JSON.parse(line) as Record<string, unknown>;
    if (level !== 'error' && level !== 'fatal') return undefined;
    return [msg, error].filter((part) => typeof part === 'string').join(': ');
  } catch {
    return undefined;
  }
}
