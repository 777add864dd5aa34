import { mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { labFolder } from '../state/lab-folder.ts';
import { identifyProcess, isRunning, type ProcessIdentity } from '../state/process-identity.ts';

/** Runs `action` while no other command brings the same lab up or down. Throws LAB_LOCKED. */
export async function withLabLock<T>(name: string, action: () => Promise<T>): Promise<T> {
  const { lock } = labFolder(name);
  mkdirSync(dirname(lock), { recursive: true });
  take(name, lock);
  try {
    return await action();
  } finally {
    rmSync(lock, { force: true });
    removeIfEmpty(dirname(lock));
    removeIfEmpty(dirname(dirname(lock)));
  }
}

/** The last lab that goes takes the folders of all labs along. */
function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // In use.
  }
}

function take(name: string, lock: string): void {
  const own = JSON.stringify(identifyProcess(process.pid));
  for (let tries = 0; tries < 2; tries += 1) {
    try {
      writeFileSync(lock, own, { flag: 'wx', mode: 0o600 });
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = readHolder(lock);
    if (holder !== undefined && isRunning(holder)) {
      throw new FlatnetError(`lab "${name}" is being changed by another command (process ${holder.pid})`, {
        code: 'LAB_LOCKED',
        hint: 'wait for it to end, or end it, and try again',
        retryable: true,
      });
    }
    // Whoever held it was killed.
    rmSync(lock, { force: true });
  }
}

function readHolder(lock: string): ProcessIdentity | undefined {
  try {
    return JSON.parse(readFileSync(lock, 'utf8')) as ProcessIdentity;
  } catch {
    return undefined;
  }
}
