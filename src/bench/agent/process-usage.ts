import { readFileSync } from 'node:fs';

/** USER_HZ: what the kernel counts CPU time of processes in, on every architecture that Node.js runs on. */
const TICKS_PER_SECOND = 100;

/** Memory that a process has resident now, MiB (VmRSS of /proc/PID/status). */
export function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
}

export interface CpuTime {
  /** Of all threads of the process. */
  readonly ownMs: number;
  /** Of programs that it started and that have ended. */
  readonly toolsMs: number;
}

/** CPU time that a process has used (/proc/PID/stat: utime and stime are the 14th and 15th field, cutime follows). */
export function cpuTime(pid: number): CpuTime {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in parentheses, may contain spaces: fields are counted from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields
    .slice(11, 15)
    .map((ticks) => (Number(ticks) * 1000) / TICKS_PER_SECOND);
  return { ownMs: user + system, toolsMs: childUser + childSystem };
}
