import { MNT_DETACH, umount } from '../../kernel/libc/libc.ts';
import { deleteNetns, listNetns, Netns, NETNS_DIRECTORY } from '../../kernel/netns/netns.ts';
import { retry } from '../../timing/backoff.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { isNetnsOf } from '../state/lab-name.ts';
import { processesInNetns, signalProcess } from '../state/process-identity.ts';

/**
 * Ends every process that lives in one of the lab's namespaces and removes the namespaces. It goes by the
 * namespaces alone and so also works where the daemon was killed or died half-way. True when something was there.
 */
export async function tearDownNamespaces(lab: string): Promise<boolean> {
  const names = listNetns().filter((name) => isNetnsOf(lab, name));
  if (names.length === 0) return false;
  await endProcesses(names);
  for (const name of names) deleteNetns(name);
  releaseDirectory();
  return true;
}

/** With the last namespace goes the mount that held them; whoever makes another one mounts it again. */
function releaseDirectory(): void {
  if (listNetns().length > 0) return;
  try {
    umount(NETNS_DIRECTORY, MNT_DETACH);
  } catch (error) {
    // EINVAL: it is no mount point.
    if (!(error instanceof FlatnetError) || error.code !== 'EINVAL') throw error;
  }
}

async function endProcesses(names: readonly string[]): Promise<void> {
  const inodes = new Set(names.flatMap(inodeOf));
  await retry(
    async () => {
      const left = processesInNetns(inodes);
      for (const identity of left) signalProcess(identity, 'SIGKILL');
      if (left.length > 0) {
        throw new FlatnetError(`${left.length} processes of the lab have not ended`, { code: 'LAB_BUSY' });
      }
    },
    { initialMs: 10, maxMs: 200, attempts: 100 },
  );
}

/** None where the file is left without its namespace, as after a restart of the machine. */
function inodeOf(name: string): bigint[] {
  try {
    const netns = Netns.named(name);
    netns.close();
    return [netns.inode];
  } catch {
    return [];
  }
}
