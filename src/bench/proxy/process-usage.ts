import { readFileSync } from 'node:fs';

/** USER_HZ: what the kernel counts CPU time of processes in, on every architecture that Node.js runs on. */
const TICKS_PER_SECOND = 100;

/** Memory that a process has resident now, MiB (VmRSS of /proc/PID/status). */
export function residentMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
}

/** CPU time that all threads of a process have used, milliseconds (utime and stime of /proc/PID/stat). */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in parentheses, may contain spaces: fields are counted from behind it; utime is the 14th of all.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / TICKS_PER_SECOND;
}
