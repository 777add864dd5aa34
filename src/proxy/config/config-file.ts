import { readFile, stat } from 'node:fs/promises';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** As much as a ConfigMap can hold; configurations have a few kilobytes. */
const MAX_BYTES = 1024 * 1024;

/** The text of a configuration file. Throws INVALID_CONFIG; a device, or what is far too large, is not read. */
export async function readConfigFile(path: string): Promise<string> {
  try {
    const found = await stat(path);
    if (found.isDirectory()) throw new Error('it is a folder');
    // A pipe may be given at the start: --config /dev/stdin.
    if (!found.isFile() && !found.isFIFO()) throw new Error('it is no file');
    if (found.size > MAX_BYTES) throw new Error(`its ${found.size} bytes are more than ${MAX_BYTES}`);
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new FlatnetError(`cannot read the configuration ${path}: ${(cause as Error).message}`, {
      code: 'INVALID_CONFIG',
      hint: 'give the file with --config',
      cause,
    });
  }
}

/** As `readConfigFile`; undefined where there is none now. Never waits, as for a pipe. */
export async function peekConfigFile(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() !== true) return undefined;
  // What is too large is another content each time it is written, and is told by who reads it then.
  if (found.size > MAX_BYTES) return `${found.size} bytes since ${found.mtimeMs}`;
  return readFile(path, 'utf8').catch(() => undefined);
}
