import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { FlatnetError } from '../errors/flatnet-error.ts';
import { createLogger } from '../log/logger.ts';
import { readInvocation, type FlagValues } from '../proxy/config/invocation.ts';
import { writeKubeProxyConfig } from '../proxy/config/write.ts';
import { initialise } from '../proxy/server/initialise.ts';
import { ProxyServer } from '../proxy/server/proxy-server.ts';
import { cleanUp } from '../proxy/server/clean-up.ts';
import { commandWithFlags, valuesOf } from './proxy-flags.ts';

const SUMMARY = 'run the service proxy alone, in place of kube-proxy';
export function command(): Command {
  return commandWithFlags('proxy')
    .summary(SUMMARY)
    .description(
      'Serves the Services of a cluster on one node, with the file and the flags of kube-proxy. Ends on SIGTERM or SIGINT ' +
        'and leaves everything in the kernel: traffic goes on, and the next start adopts it.',
    )
    .version(manifest.version, '--version', 'print the version')
    .addHelpText(
      'after',
      '\nExamples:\n  flatnet proxy --config /var/lib/kube-proxy/config.conf\n' +
        '  flatnet proxy --proxy-mode=nftables --kubeconfig=/etc/kubernetes/proxy.conf --cluster-cidr=10.244.0.0/16\n' +
        '  flatnet proxy --cleanup\n\n' +
        'With --config the file is what counts; of the other flags only --hostname-override, --master, --cleanup,\n' +
        '--init-only, --write-config-to and those for logging have an effect then. docs/proxy.md tells the rest.',
    )
    .action(async (options: Record<string, unknown>, self: Command) => run(valuesOf(options), self));
}

async function run(flags: FlagValues, self: Command): Promise<void> {
  const invocation = await readInvocation(flags).catch((error: unknown) => {
    if (error instanceof FlatnetError && error.code === 'INVALID_FLAG') {
      self.error(`error: ${error.message}`, { exitCode: 2 });
    }
    throw error;
  });
  const { config } = invocation;
  const logger = createLogger('proxy', levelOf(config.logging.verbosity));
  const target = flags.get('write-config-to');
  if (typeof target === 'string' && target !== '') {
    await writeFile(target, writeKubeProxyConfig(config));
    logger.info({ file: target }, 'configuration written');
    return;
  }
  if (flags.get('cleanup') === true) {
    await cleanUp(config, logger);
    return;
  }
  const setVerbosity = (verbosity: number): void => {
    logger.level = levelOf(verbosity);
  };
  if (flags.get('init-only') === true) {
    await initialise(config, logger);
    logger.info({ mode: config.mode }, 'initialised');
    return;
  }
  const server = new ProxyServer({ flags, invocation, logger, setVerbosity });
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  await server.run(stop.signal);
  logger.info('proxy stopped; what it programmed stays in the kernel');
}

/** kube-proxy's verbosity; FLATNET_LOG_LEVEL counts where none is asked for. */
function levelOf(verbosity: number): string {
  if (verbosity >= 6) return 'trace';
  if (verbosity >= 4) return 'debug';
  return process.env['FLATNET_LOG_LEVEL'] ?? 'info';
}
