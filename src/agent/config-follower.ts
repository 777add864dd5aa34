import { isDeepStrictEqual } from 'node:util';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { NetworkConfig } from '../podnet/network-config.ts';
import type { ProxyConfig } from '../proxy/config/proxy-config.ts';
import { watchFile } from '../proxy/server/file-watch.ts';
import { setUpMachine, tellWithoutEffect } from '../proxy/server/set-up.ts';
import type { AgentFile, LoadedConfig } from './config.ts';

export interface ConfigFollowerOptions {
  /** What is watched: the agent's file, and the net-conf.json that it names. */
  readonly paths: readonly string[];
  readonly config: AgentFile;
  readonly load: () => Promise<LoadedConfig>;
  /** Each rejects where it cannot: then what was before stays. */
  readonly takeProxy: (proxy: ProxyConfig) => Promise<void>;
  readonly takeNetwork: (network: NetworkConfig) => Promise<void>;
  readonly logger: Logger;
}

/**
 * Follows the agent's configuration until the signal is aborted: another mode of the service proxy, another backend of
 * the pod network or MTU of it are changed to without a gap. What else changes needs a start of the agent, and is
 * told. A file that is wrong is told and changes nothing.
 */
export async function followConfig(options: ConfigFollowerOptions, signal: AbortSignal): Promise<void> {
  const { paths, logger } = options;
  let current = options.config;
  /** Whether one was refused since: going back to what is taken withdraws it. */
  let refused = false;
  let turn: Promise<void> = Promise.resolve();
  const attempt = async (action: () => Promise<void>): Promise<void> => {
    try {
      await action();
    } catch (error) {
      const text = describeError(error);
      logger.error({ error: text }, `the changed configuration is not taken, the one before stays: ${text}`);
    }
  };
  const reread = async (): Promise<void> => {
    const { config: next, warnings } = await options.load();
    for (const warning of warnings) logger.warn(warning);
    tellWhatNeedsAStart(current, next, logger);
    await attempt(async () => {
      if (isDeepStrictEqual(current.proxy, next.proxy)) return;
      tellWithoutEffect(next.proxy, logger, 'proxy.');
      await options.takeProxy(next.proxy);
      current = { ...current, proxy: next.proxy };
    });
    await attempt(async () => {
      const { network } = next;
      if (network === undefined || (!refused && isDeepStrictEqual(current.network, network))) return;
      if (!isDeepStrictEqual(withoutBackend(current.network), withoutBackend(network))) return;
      refused = true;
      await options.takeNetwork(network);
      refused = false;
      current = { ...current, network };
    });
  };
  const changed = (): void => {
    turn = turn.then(async () => attempt(reread));
  };
  await Promise.all(paths.map(async (path) => watchFile(path, changed, signal)));
  await turn;
}

function tellWhatNeedsAStart(current: AgentFile, next: AgentFile, logger: Logger): void {
  const fields = Object.keys(next) as (keyof AgentFile)[];
  const stale = fields.filter(
    (field) => field !== 'proxy' && !isDeepStrictEqual(comparable(field, current), comparable(field, next)),
  ) as string[];
  if (current.proxy.enabled !== next.proxy.enabled) stale.push('proxy.enabled');
  if (stale.length === 0) return;
  logger.warn(
    { fields: stale },
    `changed, but taken only when the agent is started again: ${stale.join(', ')}`,
  );
}

const comparable = (field: keyof AgentFile, config: AgentFile): unknown =>
  field === 'network' ? withoutBackend(config.network) : config[field];

/** Ranges are divided among the nodes by others: a change of them is none that the agent could follow. */
function withoutBackend(network: NetworkConfig | undefined): unknown {
  return network === undefined ? undefined : { ...network, backend: undefined };
}

/** As the section `proxy` wants it. */
export async function setUpNode({ conntrack, oomScoreAdj }: ProxyConfig, logger: Logger): Promise<void> {
  await setUpMachine({ conntrack, oomScoreAdj: oomScoreAdj === 0 ? undefined : oomScoreAdj }, logger);
}
