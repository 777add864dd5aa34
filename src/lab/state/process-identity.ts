import { readFileSync, readdirSync, statSync } from 'node:fs';

/** A process, so named that a later process with the same number is not taken for it. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after boot: field 22 of `/proc/PID/stat`, proc(5). */
  readonly startTime: string;
}

/** The running process with this number; undefined when there is none (or a zombie only). */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in parentheses and may hold spaces and parentheses itself.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTime] = [fields[0], fields[19]];
    return startTime === undefined || state === 'Z' || state === 'X' ? undefined : { pid, startTime };
  } catch {
    return undefined;
  }
}

export function isRunning(identity: ProcessIdentity): boolean {
  return identifyProcess(identity.pid)?.startTime === identity.startTime;
}

/** Sends the signal to exactly this process; false when it is gone. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isRunning(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Processes whose network namespace is one of the given (inodes of nsfs files); never the calling one. */
export function processesInNetns(inodes: ReadonlySet<bigint>): ProcessIdentity[] {
  return allProcesses().filter(({ pid }) => {
    try {
      return pid !== process.pid && inodes.has(statSync(`/proc/${pid}/ns/net`, { bigint: true }).ino);
    } catch {
      return false;
    }
  });
}

/** The children that the main thread of a process forked. */
export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

function allProcesses(): ProcessIdentity[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => identifyProcess(Number(entry)) ?? []);
}
