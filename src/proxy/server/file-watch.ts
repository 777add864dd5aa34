import { watch, type FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';
import { sleep } from '../../timing/backoff.ts';
import { peekConfigFile } from '../config/config-file.ts';

/** Looked at that often too: not every file system tells of changes. */
const LOOK_MS = 10_000;
/** An editor writes in several steps. */
const SETTLE_MS = 100;

/**
 * Calls back at the beginning, for who has read the file a moment before, and whenever its content is another one,
 * until the signal is aborted. Its folder is watched rather than the file, so that a file that is replaced is
 * followed, and a ConfigMap's, whose folder `..data` is replaced.
 */
export async function watchFile(path: string, changed: () => void, signal: AbortSignal): Promise<void> {
  let event = new AbortController();
  const watcher = watchFolder(path, () => event.abort());
  let last: string | undefined;
  while (!signal.aborted) {
    const content = await peekConfigFile(path);
    // Between two steps of who replaces it there may be none for a moment.
    if (content !== undefined && content !== last && !signal.aborted) {
      last = content;
      changed();
    }
    await sleep(LOOK_MS, AbortSignal.any([signal, event.signal]));
    // Before it is read: what changes meanwhile is looked at again.
    event = new AbortController();
    await sleep(SETTLE_MS, signal);
  }
  watcher?.close();
}

/** Undefined where there is no such folder, or no watches are left (fs.inotify.max_user_watches). */
function watchFolder(path: string, touched: () => void): FSWatcher | undefined {
  try {
    const watcher = watch(dirname(path), (_, name) => {
      if (name === null || name === basename(path) || name === '..data') touched();
    });
    return watcher.on('error', touched);
  } catch {
    return undefined;
  }
}
