import { writeFile } from 'node:fs/promises';
import { describeError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import type { ProxyConfig } from '../config/proxy-config.ts';
import { fieldsWithoutEffect } from '../config/without-effect.ts';
import { applyConntrackSettings } from '../conntrack-settings.ts';

/** `prefix`: what stands before the fields in the file, `proxy.`; empty where they stand by themselves. */
export function tellWithoutEffect(config: ProxyConfig, logger: Logger, prefix = ''): void {
  for (const { field, reason } of fieldsWithoutEffect(config)) {
    logger.warn({ field: `${prefix}${field}` }, `${prefix}${field} has no effect: ${reason}`);
  }
}

/**
 * What the configuration wants of the machine beside its rules; an `oomScoreAdj` that is undefined stays as it is.
 * Nothing of it stops Services from being served.
 */
export async function setUpMachine(
  {
    conntrack,
    oomScoreAdj,
  }: { readonly conntrack: ProxyConfig['conntrack']; readonly oomScoreAdj?: number | undefined },
  logger: Logger,
): Promise<void> {
  applyConntrackSettings(conntrack, logger);
  if (oomScoreAdj === undefined) return;
  try {
    await setOomScoreAdj(oomScoreAdj);
  } catch (error) {
    const text = describeError(error);
    logger.info(
      { field: 'oomScoreAdj', error: text },
      `oomScoreAdj cannot be set (it needs CAP_SYS_RESOURCE): ${text}`,
    );
  }
}

/** How readily the kernel ends this process when memory is short (proc_pid_oom_score_adj(5)); -1000 to 1000. */
async function setOomScoreAdj(value: number): Promise<void> {
  await writeFile('/proc/self/oom_score_adj', String(value));
}
