import { isDeepStrictEqual } from 'node:util';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { ProxyConfig } from '../proxy/config/proxy-config.ts';
import { watchFile } from '../proxy/server/file-watch.ts';
import { setUpMachine, tellWithoutEffect } from '../proxy/server/set-up.ts';
import { loadConfig, type AgentConfig } from './config.ts';

export interface ProxyConfigFollowerOptions {
  /** The file that `config` came from. */
  readonly path: string;
  readonly config: AgentConfig;
  /** Rejects where it cannot: then the section before stays. */
  readonly take: (proxy: ProxyConfig) => Promise<void>;
  readonly logger: Logger;
}

/**
 * Follows the section `proxy` of the agent's file until the signal is aborted: another mode is switched to without a
 * gap. What else changes needs a start of the agent, and is told. A file that is wrong is told and changes nothing.
 */
export async function followProxyConfig(
  options: ProxyConfigFollowerOptions,
  signal: AbortSignal,
): Promise<void> {
  const { path, logger } = options;
  let current = options.config;
  let turn: Promise<void> = Promise.resolve();
  const reread = async (): Promise<void> => {
    try {
      const next = await loadConfig(path);
      const stale = fieldsThatNeedAStart(current, next);
      if (stale.length > 0) {
        logger.warn(
          { fields: stale },
          `changed, but taken only when the agent is started again: ${stale.join(', ')}`,
        );
      }
      if (isDeepStrictEqual(current.proxy, next.proxy)) return;
      tellWithoutEffect(next.proxy, logger, 'proxy.');
      await options.take(next.proxy);
      current = { ...current, proxy: next.proxy };
    } catch (error) {
      const text = describeError(error);
      logger.error({ error: text }, `the changed configuration is not taken, the one before stays: ${text}`);
    }
  };
  const changed = (): void => {
    turn = turn.then(reread);
  };
  await watchFile(path, changed, signal);
  await turn;
}

function fieldsThatNeedAStart(current: AgentConfig, next: AgentConfig): string[] {
  const fields = Object.keys(next) as (keyof AgentConfig)[];
  const others = fields.filter(
    (field) => field !== 'proxy' && !isDeepStrictEqual(current[field], next[field]),
  );
  return current.proxy.enabled === next.proxy.enabled ? others : [...others, 'proxy.enabled'];
}

/** As the section `proxy` wants it. */
export async function setUpNode({ conntrack, oomScoreAdj }: ProxyConfig, logger: Logger): Promise<void> {
  await setUpMachine({ conntrack, oomScoreAdj: oomScoreAdj === 0 ? undefined : oomScoreAdj }, logger);
}
