import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { tryLock } from '../kernel/libc/libc.ts';
import { retry } from '../timing/backoff.ts';

/** One that is being ended may need this long; milliseconds. */
const PATIENCE_MS = 5000;

/**
 * Makes sure that no other agent works on this node: a second one would take over the first one's socket unseen. The
 * lock is the kernel's (flock(2)), so one that was killed leaves none. Held until the signal is aborted. Throws
 * AGENT_RUNNING naming the process that holds it.
 */
export async function holdAgentLock(
  path: string,
  signal: AbortSignal,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const fd = openSync(path, 'a+', 0o600);
  const until = performance.now() + patienceMs;
  const taking = async (): Promise<void> => {
    if (tryLock(fd)) return;
    const holder = /^\d+$/m.exec(readFileSync(path, 'utf8'))?.[0];
    throw new FlatnetError(
      `another agent${holder === undefined ? '' : ` (process ${holder})`} works on this node: it holds ${path}`,
      {
        code: 'AGENT_RUNNING',
        hint: 'end it first, or give this one another cni.socketPath if it is for another network namespace',
      },
    );
  };
  try {
    await retry(taking, { signal, maxMs: 500, shouldRetry: () => performance.now() < until });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`);
  // The file stays: who opened it before it was unlinked would lock another one than who opens it afterwards.
  signal.addEventListener('abort', () => closeSync(fd), { once: true });
}
