import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import * as libc from '../../kernel/libc/libc.ts';
import { Netns, withNetns } from '../../kernel/netns/netns.ts';
import { sleep } from '../../timing/backoff.ts';
import { buildFabric } from '../fabric/fabric.ts';
import { planFabric } from '../fabric/plan.ts';
import { labFolder, listLabs } from '../state/lab-folder.ts';
import { fabricNetns } from '../state/lab-name.ts';
import type { LabOptions } from '../state/lab-options.ts';
import { readLabRecord, writeLabRecord, type LabRecord } from '../state/lab-record.ts';
import { identifyProcess, isRunning } from '../state/process-identity.ts';
import { takeDown } from './down.ts';
import { listenOnLoopback } from './loopback-socket.ts';

export interface UpOptions {
  readonly lab: LabOptions;
  /** Options that the person gave; the others follow a lab that is up already. */
  readonly given: ReadonlySet<keyof LabOptions>;
  /** Command line of this program: the Node.js executable and the script. */
  readonly flatnet: readonly string[];
  readonly onProgress: (what: string) => void;
  /** How long to wait for the nodes to be Ready; 0 does not wait. */
  readonly waitMs: number;
}

/** What the daemon tells the command that started it. */
export type DaemonMessage =
  | { readonly kind: 'progress'; readonly text: string }
  /** What keeps nodes from being Ready at the moment; empty: nothing that is known. */
  | { readonly kind: 'waiting'; readonly reasons: readonly string[] }
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly message: string };

/** Descriptor under which the daemon finds the API server's socket on the host. */
export const LOOPBACK_FD = 3;

/** Brings the lab up, or finds it up. Throws LAB_DIFFERS, PORT_TAKEN, LAB_FAILED with the daemon's words. */
export async function bringUp(options: UpOptions): Promise<LabRecord> {
  const { name } = options.lab;
  const present = readLabRecord(name);
  if (present?.daemon !== undefined && isRunning(present.daemon)) {
    refuseDifferences(options, present);
    return await waitForPresent(options, present);
  }
  if (listLabs().includes(name)) options.onProgress('removing what a crashed lab left behind');
  // Also where there is no folder: a namespace of that name may be left.
  await takeDown(name);
  const daemon = startLab(options);
  try {
    if (options.waitMs > 0) await follow(daemon, options);
  } catch (error) {
    await takeDown(name);
    throw error;
  }
  daemon.disconnect();
  daemon.unref();
  const record = readLabRecord(name);
  if (record !== undefined) return record;
  throw failed(name, 'its record cannot be read');
}

function startLab(options: UpOptions): ChildProcess {
  const { lab, flatnet } = options;
  const folder = labFolder(lab.name);
  const socket = listenOnLoopback(lab.apiPort);
  try {
    mkdirSync(folder.root, { recursive: true, mode: 0o700 });
    const record: LabRecord = {
      options: lab,
      startedAt: new Date().toISOString(),
      phase: 'starting',
      apiPort: socket.port,
      nodes: [],
    };
    writeLabRecord(record);
    options.onProgress('building the network between the nodes');
    buildFabric(lab.name, planFabric(lab));
    const daemon = spawnDaemon(lab.name, flatnet, folder.daemonLog, socket.fd);
    const identity = identifyProcess(daemon.pid ?? 0);
    if (identity !== undefined) writeLabRecord({ ...record, daemon: identity });
    return daemon;
  } finally {
    libc.close(socket.fd);
  }
}

/** In the fabric's namespace, in a session of its own: it outlives the command and its terminal. */
function spawnDaemon(
  name: string,
  flatnet: readonly string[],
  logFile: string,
  socket: number,
): ChildProcess {
  const [program = '', ...args] = flatnet;
  const log = openSync(logFile, 'a', 0o640);
  const netns = Netns.named(fabricNetns(name));
  try {
    return withNetns(netns.fd, () =>
      spawn(program, [...args, 'lab', 'daemon', '--name', name], {
        detached: true,
        stdio: ['ignore', log, log, socket, 'ipc'],
      }),
    );
  } finally {
    netns.close();
    closeSync(log);
  }
}

async function follow(daemon: ChildProcess, options: UpOptions): Promise<void> {
  const { name } = options.lab;
  await new Promise<void>((resolve, reject) => {
    let reasons: readonly string[] = [];
    const timer = setTimeout(() => {
      const seconds = Math.round(options.waitMs / 1000);
      reject(failed(name, [`not ready after ${seconds} s`, ...reasons].join('; ')));
    }, options.waitMs);
    const settle = (action: () => void): void => {
      clearTimeout(timer);
      daemon.removeAllListeners();
      action();
    };
    daemon.on('message', (message: DaemonMessage) => {
      if (message.kind === 'progress') options.onProgress(message.text);
      if (message.kind === 'waiting') reasons = message.reasons;
      if (message.kind === 'ready') settle(resolve);
      if (message.kind === 'failed') settle(() => reject(failed(name, message.message)));
    });
    daemon.once('error', (error) => settle(() => reject(failed(name, error.message))));
    daemon.once('exit', (code, signal) =>
      settle(() => reject(failed(name, `its daemon ended (${code ?? signal})${lastWords(name)}`))),
    );
  });
}

async function waitForPresent(options: UpOptions, present: LabRecord): Promise<LabRecord> {
  const { name } = options.lab;
  const deadline = Date.now() + options.waitMs;
  for (let record = present; ; record = readLabRecord(name) ?? record) {
    if (record.phase === 'running' || options.waitMs === 0) return record;
    if (record.daemon === undefined || !isRunning(record.daemon))
      throw failed(name, `its daemon ended${lastWords(name)}`);
    if (Date.now() > deadline) throw failed(name, 'it has not become ready');
    options.onProgress('waiting for the lab that is being started');
    await sleep(100);
  }
}

/** A lab is what it was made as; another wish needs another lab. */
function refuseDifferences(options: UpOptions, present: LabRecord): void {
  for (const key of options.given) {
    const wanted = options.lab[key];
    // The port that was found counts, not the wish for any; and any is what this one is.
    const is = key === 'apiPort' ? present.apiPort : present.options[key];
    if (wanted === is || (key === 'apiPort' && wanted === 0)) continue;
    const flag = `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    throw new FlatnetError(
      `lab "${options.lab.name}" is up already with ${flag} ${String(is)}, not ${String(wanted)}`,
      {
        code: 'LAB_DIFFERS',
        hint: `take it down first (flatnet lab down --name ${options.lab.name}), or give the new one another --name`,
      },
    );
  }
}

function failed(name: string, why: string): FlatnetError {
  return new FlatnetError(`lab "${name}" did not come up: ${why}`, { code: 'LAB_FAILED' });
}

function lastWords(name: string): string {
  try {
    const lines = readFileSync(labFolder(name).daemonLog, 'utf8').trim().split('\n').slice(-3);
    return lines.length === 0 ? '' : `; its last words: ${lines.join(' | ').slice(-600)}`;
  } catch {
    return '';
  }
}
