import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { trimHeap } from './libc.ts';

/**
 * Gives what a burst of work left behind back to the kernel: one full garbage collection and malloc_trim(3). Takes
 * about a millisecond for each megabyte that stays; call it where nobody waits. It also spares what comes next the
 * collection that would follow some time later.
 */
export function releaseMemory(): void {
  // The collector can be called only from contexts made while the flag is set; the process's own does not get it.
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  collect();
  trimHeap();
}
