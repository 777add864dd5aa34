import { writeFile } from 'node:fs/promises';

/** How readily the kernel ends this process when memory is short (proc_pid_oom_score_adj(5)); -1000 to 1000. */
export async function setOomScoreAdj(value: number): Promise<void> {
  await writeFile('/proc/self/oom_score_adj', String(value));
}
