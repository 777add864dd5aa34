import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { PROXY_MODES, type ProxyBackend, type ProxyMode } from './backend.ts';

/**
 * Ends a backend when another one serves everything; with `remove`, of another mode, it goes from the kernel: new
 * connections have not been without rules at any time, and established ones go on. Those that this process itself
 * carries (userspace) end by themselves.
 */
export async function retireMode(
  old: ProxyBackend,
  { remove, logger }: { readonly remove: boolean; readonly logger: Logger },
): Promise<void> {
  try {
    if (remove) await old.remove();
  } finally {
    void closeWhenDrained(old, logger);
  }
}

async function closeWhenDrained(old: ProxyBackend, logger: Logger): Promise<void> {
  try {
    await old.drained?.();
    await old.close();
  } catch (error) {
    logger.warn(
      { mode: old.mode, error: describeError(error) },
      'a mode that is not used any more did not end well',
    );
  }
}

export interface LeftoverOptions {
  /** What serves now. */
  readonly active: ProxyMode;
  /** A look that costs nothing: false where the mode cannot have left anything. */
  readonly mayHaveLeft: (mode: ProxyMode) => boolean;
  readonly open: (mode: ProxyMode) => Promise<ProxyBackend>;
  /** What kube-proxy has under names that no mode here uses. Returns what was there. */
  readonly removeKubeProxyTables: () => readonly string[];
  readonly logger: Logger;
  /** No further mode is looked at once it is aborted. */
  readonly signal: AbortSignal;
}

/**
 * Removes what a process that ran in another mode, or kube-proxy, left in the kernel. To be called when the active mode serves
 * everything. A mode that the kernel or the machine cannot serve has left nothing; nothing here is fatal.
 */
export async function removeLeftovers(options: LeftoverOptions): Promise<void> {
  const { active, mayHaveLeft, open, logger, signal } = options;
  try {
    for (const table of options.removeKubeProxyTables()) {
      logger.warn({ table }, `table ${table} of kube-proxy removed: it would go on leading to its endpoints`);
    }
  } catch (error) {
    const text = describeError(error);
    logger.error({ error: text }, `tables of kube-proxy's nftables mode stay: ${text}`);
  }
  for (const mode of PROXY_MODES) {
    if (signal.aborted) return;
    try {
      if (mode === active || !mayHaveLeft(mode)) continue;
      await retireMode(await open(mode), { remove: true, logger });
    } catch (error) {
      logger.debug({ mode, error: describeError(error) }, 'this mode has left nothing that could be removed');
    }
  }
}
