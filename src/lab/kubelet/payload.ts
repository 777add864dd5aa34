import {
  chmodSync,
  existsSync,
  readFileSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

/** One file of a volume made of objects: path below the volume to content and mode. */
export interface PayloadFile {
  readonly content: Buffer;
  readonly mode: number;
}

export type Payload = ReadonlyMap<string, PayloadFile>;

/**
 * Writes a volume so that readers see all old files or all new ones: the files stand in a folder of their own,
 * `..data` leads to it, and one rename changes where it leads (as the kubelet does).
 */
export function writePayload(folder: string, payload: Payload): void {
  mkdirSync(folder, { recursive: true });
  const old = currentFolder(folder);
  if (old !== undefined && isSame(folder, payload)) return;
  const version = `..${new Date().toISOString().replace(/[^0-9]/g, '_')}`;
  for (const [path, { content, mode }] of payload) {
    const file = join(folder, version, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    chmodSync(file, mode);
  }
  mkdirSync(join(folder, version), { recursive: true });
  symlinkSync(version, join(folder, '..data_tmp'));
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
  linkNames(folder, new Set([...payload.keys()].map((path) => path.split('/')[0] ?? '')));
  if (old !== undefined) rmSync(join(folder, old), { recursive: true, force: true });
}

function linkNames(folder: string, wanted: ReadonlySet<string>): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith('..') && !wanted.has(name)) rmSync(join(folder, name), { recursive: true });
  }
  for (const name of wanted) {
    if (!existsSync(join(folder, name))) {
      rmSync(join(folder, name), { force: true });
      symlinkSync(join('..data', name), join(folder, name));
    }
  }
}

function currentFolder(folder: string): string | undefined {
  try {
    return readlinkSync(join(folder, '..data'));
  } catch {
    return undefined;
  }
}

function isSame(folder: string, payload: Payload): boolean {
  const data = join(folder, '..data');
  const files = readdirSync(data, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return (
    files.length === payload.size &&
    [...payload].every(([path, file]) => {
      const now = readFile(join(data, path));
      return now !== undefined && now.equals(file.content);
    })
  );
}

function readFile(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
