import { setMaxListeners } from 'node:events';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import { createLogger } from '../../log/logger.ts';
import { LabDaemon } from '../daemon/lab-daemon.ts';
import { labFolder } from '../state/lab-folder.ts';
import { readLabRecord } from '../state/lab-record.ts';
import { identifyProcess, type ProcessIdentity } from '../state/process-identity.ts';
import { tearDownNamespaces } from '../fabric/teardown.ts';
import { removeFiles } from './down.ts';
import { LOOPBACK_FD, type DaemonMessage } from './up.ts';

/** The daemon's main: runs the lab until SIGTERM, then leaves nothing behind. */
export async function runDaemon(name: string, flatnet: readonly string[]): Promise<void> {
  const logger = createLogger('lab');
  const record = readLabRecord(name);
  if (record === undefined) {
    throw new FlatnetError(`lab "${name}" has no record`, {
      code: 'LAB_NOT_FOUND',
      hint: 'the daemon is started by: flatnet lab up',
    });
  }
  const stop = new AbortController();
  // Every pod, informer and controller of the cluster listens.
  setMaxListeners(0, stop.signal);
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => stop.abort());
  // One connection's or pod's failure must not end a whole cluster; it is logged with its stack.
  process.on('uncaughtException', (error) => logger.error({ err: error }, 'uncaught exception'));
  process.on('unhandledRejection', (error) => logger.error({ err: error }, 'unhandled rejection'));
  const daemon = new LabDaemon({
    record: { ...record, daemon: ownIdentity() },
    loopbackFd: LOOPBACK_FD,
    flatnet,
    logger,
    onProgress: (text) => tell({ kind: 'progress', text }),
    onWaiting: (reasons) => tell({ kind: 'waiting', reasons }),
  });
  try {
    await daemon.start(stop.signal);
    tell({ kind: 'ready' });
    logger.info({ lab: name }, 'the lab is up');
    await untilAborted(stop.signal);
  } catch (error) {
    logger.error({ err: error }, 'the lab did not come up');
    tell({ kind: 'failed', message: describeError(error) });
    process.exitCode = 1;
  }
  stop.abort();
  await daemon.stop();
  await tearDownNamespaces(name);
  // A lab that failed keeps its logs until `lab down`.
  if (process.exitCode === undefined) await removeFiles(labFolder(name).root);
  process.exit();
}

function ownIdentity(): ProcessIdentity {
  return identifyProcess(process.pid) ?? { pid: process.pid, startTime: '' };
}

/** To the command that waits; it may have gone, which is none of the daemon's business. */
function tell(message: DaemonMessage): void {
  if (process.connected) process.send?.(message, () => undefined);
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    // Keeps the process alive even when everything else has ended.
    const timer = setInterval(() => undefined, 60_000);
    signal.addEventListener('abort', () => {
      clearInterval(timer);
      resolve();
    });
  });
}
