import { rm } from 'node:fs/promises';
import { sleep } from '../../timing/backoff.ts';
import { tearDownNamespaces } from '../fabric/teardown.ts';
import { labFolder, listLabs } from '../state/lab-folder.ts';
import { readLabRecord } from '../state/lab-record.ts';
import { isRunning, signalProcess, type ProcessIdentity } from '../state/process-identity.ts';

/** The daemon ends its nodes and itself within this time; after it, it is killed. */
const DAEMON_PATIENCE_MS = 8000;

/** Removes every trace of the lab, whatever state it is in. True when there was something to remove. */
export async function takeDown(name: string): Promise<boolean> {
  const folder = labFolder(name);
  const known = listLabs().includes(name);
  const daemon = readLabRecord(name)?.daemon;
  if (daemon !== undefined) await endDaemon(daemon);
  const hadNamespaces = await tearDownNamespaces(name);
  await removeFiles(folder.root);
  return known || hadNamespaces;
}

/** Removes the lab's files; the overlay's work folders hold a folder that only root may enter. */
export async function removeFiles(root: string): Promise<void> {
  await rm(root, { recursive: true, force: true, maxRetries: 3 });
}

async function endDaemon(daemon: ProcessIdentity): Promise<void> {
  signalProcess(daemon, 'SIGTERM');
  const deadline = Date.now() + DAEMON_PATIENCE_MS;
  while (isRunning(daemon) && Date.now() < deadline) await sleep(20);
  signalProcess(daemon, 'SIGKILL');
  while (isRunning(daemon)) await sleep(5);
}
