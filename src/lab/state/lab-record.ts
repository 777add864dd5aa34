import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { labFolder } from './lab-folder.ts';
import type { LabOptions } from './lab-options.ts';
import type { ProcessIdentity } from './process-identity.ts';

/** What a later command must know of a lab; `down` finds the rest by the namespaces' names. */
export interface LabRecord {
  readonly options: LabOptions;
  readonly startedAt: string;
  /** `starting` until the API answers, the add-ons are applied and every node has been Ready. */
  readonly phase: 'starting' | 'running';
  /** Absent until the daemon has been started. */
  readonly daemon?: ProcessIdentity;
  readonly apiPort: number;
  readonly nodes: readonly NodeRecord[];
}

export interface NodeRecord {
  readonly name: string;
  readonly addresses: readonly string[];
  /** PID 1 of the node, as the host sees it. */
  readonly init: ProcessIdentity;
  /** The agent's process, as the host sees it; absent while it is being started again. */
  readonly agent?: ProcessIdentity | undefined;
  readonly agentRestarts: number;
}

/** The record of a lab; undefined where there is none (or only half of one, after a crash). Throws NOT_ROOT. */
export function readLabRecord(name: string): LabRecord | undefined {
  try {
    return JSON.parse(readFileSync(labFolder(name).record, 'utf8')) as LabRecord;
  } catch (error) {
    // Its kubeconfig is an administrator's, so a lab is root's alone; that does not make it a crashed one.
    if ((error as NodeJS.ErrnoException).code === 'EACCES') {
      throw new FlatnetError(`lab "${name}" belongs to root`, {
        code: 'NOT_ROOT',
        hint: 'run the same command with sudo',
        cause: error,
      });
    }
    return undefined;
  }
}

export function writeLabRecord(record: LabRecord): void {
  const { record: file } = labFolder(record.options.name);
  // Readers never see half a record.
  writeFileSync(`${file}.new`, `${JSON.stringify(record, undefined, 2)}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
