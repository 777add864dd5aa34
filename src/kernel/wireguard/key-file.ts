import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { dirname } from 'node:path';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import { SecretKey } from './key.ts';

/**
 * The node's private key: read from the file, or made and written there (mode 0600) where there is none, so that it is
 * the same after a restart. The file is never seen half written, and of two processes that start at once both get the
 * key of one. A file that others can read is used with a warning, as wg(8) does it: a Secret mounted by Kubernetes
 * looks like that. One that others could have written is refused. Throws WIREGUARD_KEY_FILE; no message shows the
 * content.
 */
export function loadOrCreateKey(path: string, logger: Logger): SecretKey {
  return read(path, logger) ?? create(path, logger);
}

function read(path: string, logger: Logger): SecretKey | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw failure(path, `cannot be read: ${(error as Error).message}`, error);
  }
  try {
    // Of the open file: what is checked is what is read.
    checkAccess(path, fstatSync(fd), logger);
    return SecretKey.parse(readFileSync(fd, 'utf8').trim());
  } catch (error) {
    if (error instanceof FlatnetError && error.code === 'WIREGUARD_KEY_FILE') throw error;
    throw failure(path, describeError(error), error);
  } finally {
    closeSync(fd);
  }
}

function checkAccess(path: string, { mode, uid }: Stats, logger: Logger): void {
  const shown = (mode & 0o777).toString(8).padStart(4, '0');
  const own = process.getuid?.() ?? 0;
  const isForeign = uid !== 0 && uid !== own;
  if ((mode & 0o022) !== 0 || isForeign) {
    const why = isForeign
      ? `belongs to user ${uid}`
      : `can be written by others than its owner (mode ${shown})`;
    throw failure(path, `${why}, who could choose this node's key`);
  }
  if ((mode & 0o077) !== 0) {
    logger.warn(
      { path, mode: shown },
      'others than root can read the WireGuard private key: chmod 600 the file, or delete it for a new key',
    );
  }
}

function create(path: string, logger: Logger): SecretKey {
  const key = SecretKey.generate();
  const temporary = `${path}.${process.pid}.new`;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    writeSecret(temporary, `${key.reveal().toString('base64')}\n`);
    try {
      // Unlike rename, link leaves a file alone that another process has put there meanwhile.
      linkSync(temporary, path);
    } finally {
      unlinkSync(temporary);
    }
  } catch (error) {
    const found = (error as NodeJS.ErrnoException).code === 'EEXIST' ? read(path, logger) : undefined;
    if (found !== undefined) return found;
    throw failure(path, `cannot be written: ${(error as Error).message}`, error);
  }
  logger.info({ path, publicKey: key.publicKey() }, 'made a WireGuard key');
  return key;
}

function writeSecret(path: string, text: string): void {
  const fd = openSync(path, 'w', 0o600);
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function failure(path: string, what: string, cause?: unknown): FlatnetError {
  return new FlatnetError(`WireGuard key file ${path}: ${what}`, {
    code: 'WIREGUARD_KEY_FILE',
    hint: 'put it right (owner root, mode 0600, one line made by wg genkey) or delete it: a new one is made then',
    cause,
  });
}
